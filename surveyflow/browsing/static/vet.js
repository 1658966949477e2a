"use strict";
// One answer: it is sent, and only when the server has it on disk does the next galaxy come.

const galaxy = document.querySelector(".vet"), note = document.getElementById("note"), fault = galaxy.querySelector(".error");
let sending = false;

async function send(label) {
  if (sending) return;
  sending = true;
  const { at, field, source } = galaxy.dataset;
  const body = JSON.stringify({ at: Number(at), field, source_id: source, label, note: note.value });
  try {
    const answer = await fetch("/vet/answer", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (!answer.ok) throw new Error((await answer.text()).slice(0, 500));
    location.href = (await answer.json()).next;
  } catch (error) {
    sending = false;
    fault.hidden = false;
    fault.textContent = `Not saved: ${error.message}. If the server has stopped, start it again, open its new address, and go on here: every answer before this one is on disk.`;
  }
}

for (const button of galaxy.querySelectorAll("[data-label]")) button.addEventListener("click", () => send(button.dataset.label));
addEventListener("keydown", (event) => {
  if (event.key !== "n" || event.target === note || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  note.focus();
});
