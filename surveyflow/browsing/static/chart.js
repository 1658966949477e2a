"use strict";
// A map or a plot: numbers of galaxies in cells, drawn on a canvas, of which a part can be chosen with the pointer.

const chart = document.querySelector(".chart"), canvas = chart.querySelector("canvas"), pen = canvas.getContext("2d");
const form = document.querySelector(".part"), about = chart.dataset;
const turned = about.centre !== "";  // right ascension grows to the left
const margin = { left: 70, right: 12, top: 12, bottom: 46 };
const asked = new URL(about.cells, location.href).searchParams;
const ends = Object.fromEntries(["x0", "x1", "y0", "y1"].map((name) => [name, Number(asked.get(name))]));
let found = null, brush = null, width = 0, height = 0, full = [0, 0];

// The canvas has the pixels of the screen; on a map, a degree is as long in both directions.
function fit() {
  full[0] = Math.min(chart.clientWidth, 960);
  width = full[0] - margin.left - margin.right;
  const flat = Math.cos((Math.PI / 360) * (ends.y0 + ends.y1)), shape = (ends.y1 - ends.y0) / ((ends.x1 - ends.x0) * flat);
  height = width * (turned && shape > 0 ? Math.max(shape, 0.3) : 0.7);
  if (height > 600) {
    if (turned) width *= Math.max(600 / height, 0.4);
    full[0] = width + margin.left + margin.right;
    height = 600;
  }
  full[1] = height + margin.top + margin.bottom;
  [canvas.width, canvas.height] = full.map((side) => Math.round(side * devicePixelRatio));
  canvas.style.width = `${full[0]}px`;
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

function ramp(share) {
  const low = parts(colour("--cell-0")), high = parts(colour("--cell-1"));
  return `rgb(${low.map((value, place) => Math.round(value + share * (high[place] - value)))})`;
}

const across = (share) => margin.left + width * (turned ? 1 - share : share);
const up = (share) => margin.top + height * (1 - share);

function ticks(low, high) {
  const rough = (high - low) / (width > 400 ? 6 : 3) || 1, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * unit).find((one) => one >= rough);
  const values = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) values.push(Number(value.toPrecision(10)));
  return values;
}

function axes() {
  pen.font = "13px system-ui, sans-serif";
  pen.fillStyle = pen.strokeStyle = colour("--ink");
  pen.strokeRect(margin.left, margin.top, width, height);
  pen.textAlign = "center";
  for (const value of ticks(ends.x0, ends.x1)) pen.fillText(value, across((value - ends.x0) / (ends.x1 - ends.x0 || 1)), full[1] - 28);
  pen.fillText(about.xname, margin.left + width / 2, full[1] - 7);
  pen.textAlign = "right";
  for (const value of ticks(ends.y0, ends.y1)) pen.fillText(value, margin.left - 8, up((value - ends.y0) / (ends.y1 - ends.y0 || 1)) + 5);
  pen.save();
  pen.translate(13, margin.top + height / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  pen.fillText(about.yname, 0, 0);
  pen.restore();
}

// The borders of mosaics, each instrument with dashes of its own.
function outlines() {
  const kinds = [...new Set(found.outlines.map((one) => one.instrument))], dashes = [[], [9, 5], [3, 3], [12, 4, 3, 4]];
  pen.save();
  pen.beginPath();
  pen.rect(margin.left, margin.top, width, height);
  pen.clip();
  pen.strokeStyle = colour("--mean");
  pen.lineWidth = 1.5;
  for (const one of found.outlines) {
    pen.setLineDash(dashes[kinds.indexOf(one.instrument) % dashes.length]);
    pen.beginPath();
    one.x.forEach((x, at) => pen.lineTo(across((x - ends.x0) / (ends.x1 - ends.x0)), up((one.y[at] - ends.y0) / (ends.y1 - ends.y0))));
    pen.closePath();
    pen.stroke();
  }
  pen.restore();
}

function draw() {
  fit();
  pen.fillStyle = colour("--page");
  pen.fillRect(0, 0, ...full);
  const most = Math.max(1, ...found.cells.map((cell) => cell[2]));
  const cell = ([i, j], fill) => {
    pen.fillStyle = fill;
    const x = [across(i / found.n_cells), across((i + 1) / found.n_cells)].sort((a, b) => a - b), y = up((j + 1) / found.n_cells);
    pen.fillRect(x[0], y, Math.max(1, x[1] - x[0]), Math.max(1, height / found.n_cells));
  };
  for (const one of found.base) cell(one, colour("--base"));
  for (const one of found.cells) cell(one, ramp(most > 1 ? Math.log(one[2]) / Math.log(most) : 1));
  outlines();
  axes();
  if (brush) {
    pen.strokeStyle = colour("--mean");
    pen.lineWidth = 3;
    pen.strokeRect(...brush.slice(0, 2), brush[2] - brush[0], brush[3] - brush[1]);
    pen.lineWidth = 1;
  }
  const shown = found.cells.reduce((sum, one) => sum + one[2], 0);
  const footprint = found.base.length ? " Grey cells hold other galaxies of the catalog." : "";
  chart.querySelector(".legend").textContent = `${shown.toLocaleString("en")} galaxies are shown; the fullest cell holds ${most.toLocaleString("en")}, and the scale is logarithmic.${footprint}`;
}

function placed(event) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) * full[0]) / box.width, y = ((event.clientY - box.top) * full[1]) / box.height;
  return [Math.min(Math.max(x, margin.left), margin.left + width), Math.min(Math.max(y, margin.top), margin.top + height)];
}

function chosen() {
  const share = (x) => (turned ? 1 - (x - margin.left) / width : (x - margin.left) / width);
  const rise = (y) => 1 - (y - margin.top) / height;
  const order = (one, other) => [Math.min(one, other), Math.max(one, other)];
  const [x0, x1] = order(share(brush[0]), share(brush[2])).map((part) => ends.x0 + part * (ends.x1 - ends.x0));
  const [y0, y1] = order(rise(brush[1]), rise(brush[3])).map((part) => ends.y0 + part * (ends.y1 - ends.y0));
  for (const [name, value] of Object.entries({ x0, x1, y0, y1 })) form.elements[name].value = Number(value.toPrecision(8));
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  brush = [...placed(event), ...placed(event)];
});
canvas.addEventListener("pointermove", (event) => {
  if (!brush || !canvas.hasPointerCapture(event.pointerId)) return;
  brush = [...brush.slice(0, 2), ...placed(event)];
  draw();
});
canvas.addEventListener("pointerup", () => {
  if (!brush) return;
  if (Math.abs(brush[2] - brush[0]) < 4 || Math.abs(brush[3] - brush[1]) < 4) brush = null;
  else chosen();
  draw();
});

function number(name) {
  const value = Number(form.elements[name].value);
  return Number.isFinite(value) ? value : ends[name];
}

// A part as a selection in the language of --where; right ascensions may pass through 0.
function selection() {
  const [x0, x1, y0, y1] = ["x0", "x1", "y0", "y1"].map(number), text = (value) => String(value);
  let inside = `${about.x} >= ${text(x0)} and ${about.x} <= ${text(x1)}`;
  if (turned) {
    const [from, to] = [x0, x1].map((one) => (((Number(about.centre) + one) % 360) + 360) % 360).map((one) => one.toFixed(7));
    inside = Number(from) <= Number(to) ? `ra >= ${from} and ra <= ${to}` : `(ra >= ${from} or ra <= ${to})`;
    inside = `field == ${JSON.stringify(about.field)} and ${inside}`;
  }
  const part = `${inside} and ${about.y} >= ${text(y0)} and ${about.y} <= ${text(y1)}`;
  const before = form.elements.where.value;
  return before ? `(${before}) and ${part}` : part;
}

form.querySelector(".gallery").addEventListener("click", () => {
  location.href = `/?${new URLSearchParams({ where: selection() })}`;
});
addEventListener("resize", () => {
  brush = null;
  if (found) draw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => found && draw());

fetch(about.cells).then(async (answer) => {
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  found = content;
  draw();
  chart.dataset.drawn = "yes";
}).catch((error) => {
  const place = chart.querySelector(".error");
  place.hidden = false;
  place.textContent = `The plot could not be made: ${error.message}`;
});
