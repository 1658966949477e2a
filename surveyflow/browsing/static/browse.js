"use strict";
// The keyboard: links with data-key are followed by their key; arrows move from card to card, as they lie on the page.

const typing = (target) => target.matches("input, select, textarea") && target.type !== "submit";

function move(card, key) {
  const cards = [...document.querySelectorAll(".sheet .card")];
  const place = cards.indexOf(card);
  if (place < 0) return cards[0];
  if (key === "ArrowRight") return cards[place + 1];
  if (key === "ArrowLeft") return cards[place - 1];
  const here = card.getBoundingClientRect(), down = key === "ArrowDown";
  const rows = cards.filter((other) => (down ? other.getBoundingClientRect().top > here.top + 5 : other.getBoundingClientRect().top < here.top - 5));
  const distance = (other) => {
    const there = other.getBoundingClientRect();
    return 10 * Math.abs(there.top - here.top) + Math.abs(there.left - here.left);
  };
  return rows.sort((one, other) => distance(one) - distance(other))[0];
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape" && typing(event.target)) return event.target.blur();
  if (typing(event.target)) return;
  const arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];
  const field = { "/": "q", f: "where" }[event.key];
  if (field && document.getElementById(field)) {
    event.preventDefault();
    document.getElementById(field).select();
  } else if (arrows.includes(event.key) && document.querySelector(".sheet .card")) {
    const next = move(document.activeElement, event.key);
    if (next) {
      event.preventDefault();
      next.focus();
    }
  } else {
    const link = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key);
    if (link) {
      event.preventDefault();
      if (!event.repeat || !link.dataset.label) link.click();  // a key that is held must not answer for the next galaxy
    }
  }
});

function watch(part) {
  for (const image of part.querySelectorAll(".card img")) {
    image.addEventListener("error", () => image.remove());
    if (image.complete && !image.naturalWidth && image.currentSrc) image.remove();
  }
}
watch(document);

// Parts of a page that take longer come after it; without them, their link stays.
for (const place of document.querySelectorAll("[data-part]")) {
  fetch(place.dataset.part).then(async (answer) => {
    if (!answer.ok) return;
    place.innerHTML = await answer.text();
    watch(place);
    place.dataset.loaded = "yes";
  }).catch(() => {});
}
