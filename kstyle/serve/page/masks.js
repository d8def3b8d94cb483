// Masks: where each painting goes, painted over the photograph with the pointer or the keyboard. Each place has one
// colour at most. What was done is kept as a list, so that it can be undone, and painted again in any size.

import { $, make, say, show } from "./dom.js";
import { chosen, byNetwork } from "./pictures.js";
import { address, send } from "./server.js";

const LONG = 1024; // pixels of a mask's long side, at most
const STEP = 0.02; // of the long side: an arrow key's

/**
 * Each {kind: "stroke", style, width, points}, {kind: "rest", style} or {kind: "picture", style, picture}; style: an
 * id, null takes colour away. Widths and places are parts of the long side.
 */
let done = [];
let stroke = null; // the one that is being painted
let brush = null; // which painting it stands for: an id
let erasing = false;
let at = [0.5, 0.5]; // the keyboard's brush
let size = [1, 1];
let photo = null; // whose masks these are

const canvas = $("mask");
const colourOf = id => chosen.styles.find(style => style.id === id)?.colour;
const long = () => Math.max(...size);
const width = () => Number($("brush-size").value) / 100;

function blank() {
  const made = make("canvas");
  [made.width, made.height] = size;
  return made.getContext("2d", { willReadFrequently: true });
}

/** Paints one deed on a canvas. `colour`: of its style there, null: as if it took colour away. */
function paint(context, deed, colour, painted = context) {
  context.save();
  context.globalCompositeOperation = colour ? "source-over" : "destination-out";
  context.fillStyle = context.strokeStyle = colour || "#fff";
  if (deed.kind === "stroke") {
    const scale = long();
    context.lineWidth = deed.width * scale;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    const [first, ...others] = deed.points;
    context.moveTo(first[0] * scale, first[1] * scale);
    for (const [x, y] of others.length ? others : [first]) context.lineTo(x * scale, y * scale);
    context.stroke();
  } else if (deed.kind === "rest") {
    if (colour) {
      // where nothing was painted so far; it takes nothing away from the others
      const rest = blank();
      rest.fillStyle = colour;
      rest.fillRect(0, 0, ...size);
      rest.globalCompositeOperation = "destination-out";
      rest.drawImage(painted.canvas, 0, 0);
      context.drawImage(rest.canvas, 0, 0);
    }
  } else {
    const tinted = blank();
    tinted.drawImage(deed.picture, 0, 0, ...size);
    tinted.globalCompositeOperation = "source-in";
    tinted.fillStyle = colour || "#fff";
    tinted.fillRect(0, 0, ...size);
    context.drawImage(tinted.canvas, 0, 0);
  }
  context.restore();
}

/** What is shown: every place in its painting's colour. */
function drawAll() {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, ...size);
  for (const deed of done) paint(context, deed, colourOf(deed.style));
  told();
}

/** One painting's region: white where it goes, clear elsewhere. */
function layer(id) {
  const own = blank(),
    all = blank();
  for (const deed of done) {
    paint(own, deed, deed.style === id ? "#fff" : null, all);
    paint(all, deed, colourOf(deed.style) ? "#fff" : null);
  }
  return own;
}

/** Which part of the picture a region covers, 0 to 1. */
function share(context) {
  const { data } = context.getImageData(0, 0, ...size);
  let sum = 0,
    count = 0;
  for (let place = 3; place < data.length; place += 4 * 7, count++) sum += data[place];
  return sum / count / 255;
}

const used = () => done.some(deed => deed.style !== null && colourOf(deed.style));

/** The buttons, and beside each painting how much of the picture is its own. */
function told() {
  $("undo").disabled = $("clear").disabled = !done.length;
  for (const label of $("mask-styles").children) {
    const part = used() ? share(layer(label.dataset.id)) : 0;
    label.querySelector("small").textContent = part < 0.002 ? "everywhere" : `${Math.max(1, Math.round(100 * part))} %`;
  }
}

function end() {
  if (!stroke) return;
  stroke = null;
  told();
}

function begun(place) {
  stroke = { kind: "stroke", style: erasing ? null : brush, width: width(), points: [place] };
  done.push(stroke);
  paint(canvas.getContext("2d"), stroke, colourOf(stroke.style));
}

function further(place) {
  stroke.points.push(place);
  paint(canvas.getContext("2d"), { ...stroke, points: stroke.points.slice(-2) }, colourOf(stroke.style));
}

/** Where the pointer is, in parts of the photograph's long side. */
function placeOf(event) {
  const box = canvas.getBoundingClientRect();
  const scale = Math.max(box.width, box.height);
  return [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale];
}

function showBrush(place) {
  const box = canvas.getBoundingClientRect(),
    scale = Math.max(box.width, box.height),
    mark = $("brush");
  const side = width() * scale;
  Object.assign(mark.style, {
    width: `${side}px`,
    height: `${side}px`,
    left: `${place[0] * scale}px`,
    top: `${place[1] * scale}px`,
  });
  mark.style.borderColor = erasing ? "" : colourOf(brush) || "";
  show(mark, true);
}

function pointer() {
  canvas.addEventListener("pointerdown", event => {
    if (event.button) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    begun(placeOf(event));
  });
  canvas.addEventListener("pointermove", event => {
    showBrush(placeOf(event));
    if (!stroke) return;
    const all = event.getCoalescedEvents?.() || [];
    for (const each of all.length ? all : [event]) further(placeOf(each));
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(name, end);
  canvas.addEventListener("pointerleave", () => {
    if (!stroke) show($("brush"), false);
  });
}

function keyboard() {
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", event => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z") undo();
    else if (ways[event.key]) {
      const step = STEP * (event.shiftKey ? 4 : 1);
      at = at.map((part, axis) => Math.min(Math.max(part + step * ways[event.key][axis], 0), size[axis] / long()));
      if (stroke) further(at);
    } else if (event.key === " " || event.key === "Enter") {
      if (!stroke) begun(at);
    } else return;
    event.preventDefault();
    showBrush(at);
  });
  canvas.addEventListener("keyup", event => {
    if (event.key === " " || event.key === "Enter") end();
  });
  canvas.addEventListener("focus", () => {
    if (canvas.matches(":focus-visible")) showBrush(at);
  });
  canvas.addEventListener("blur", () => {
    end();
    show($("brush"), false);
  });
}

function undo() {
  stroke = null;
  if (done.pop()) say("Undone");
  drawAll();
}

function erase(yes) {
  erasing = yes;
  $("eraser").setAttribute("aria-pressed", yes);
}

/** The paintings to choose from; all is taken away with another photograph. */
function refresh() {
  const { styles } = chosen;
  if (chosen.photo && chosen.photo.id !== photo) {
    photo = chosen.photo.id;
    const { width: w, height: h } = chosen.photo;
    const scale = Math.min(1, LONG / Math.max(w, h));
    size = [Math.max(1, Math.round(w * scale)), Math.max(1, Math.round(h * scale))];
    [canvas.width, canvas.height] = size;
    at = size.map(side => side / long() / 2);
    $("mask-photo").src = address.picture(photo);
    $("mask-paper").style.setProperty("--ratio", w / h);
    done = [];
  }
  if (!styles.some(style => style.id === brush)) brush = styles[0]?.id ?? null;
  $("mask-styles").replaceChildren(
    ...styles.map(style => {
      const radio = make("input", { type: "radio", name: "mask-style", value: style.id, checked: style.id === brush });
      radio.addEventListener("change", () => {
        brush = style.id;
        erase(false);
      });
      const chip = make("i", { className: "chip" });
      chip.style.backgroundColor = style.colour;
      const label = make("label", {}, radio, chip, make("span", { textContent: style.name }), make("small"));
      label.dataset.id = style.id;
      return label;
    }),
  );
  $("rest").disabled = !styles.length;
  drawAll();
}

export const possible = () => Boolean(chosen.photo && chosen.styles.length && !byNetwork());

/** Sends what was painted: a list of ids, null for a painting that goes everywhere; null if nothing was painted. */
export async function sent() {
  if (!possible() || !used()) return null;
  const masks = [];
  for (const style of chosen.styles) {
    const own = layer(style.id);
    if (share(own) < 0.002) {
      masks.push(null);
      continue;
    }
    const white = blank();
    white.fillRect(0, 0, ...size); // black
    white.drawImage(own.canvas, 0, 0);
    const blob = await new Promise(resolve => white.canvas.toBlob(resolve, "image/png"));
    masks.push((await send(blob, `mask-${masks.length + 1}.png`)).id);
  }
  return masks.some(Boolean) ? masks : null;
}

/** The masks of a job that was painted, to go on from: white becomes opaque, black clear. */
export async function take(ids) {
  done = [];
  for (const [number, id] of (ids || []).entries()) {
    const style = chosen.styles[number]?.id;
    if (!id || !style) continue;
    const picture = new Image();
    picture.src = address.picture(id);
    await picture.decode();
    const context = blank();
    context.drawImage(picture, 0, 0, ...size);
    const pixels = context.getImageData(0, 0, ...size);
    for (let place = 0; place < pixels.data.length; place += 4) pixels.data[place + 3] = pixels.data[place];
    context.putImageData(pixels, 0, 0);
    done.push({ kind: "picture", style, picture: context.canvas });
  }
  drawAll();
}

export function begin() {
  pointer();
  keyboard();
  $("undo").addEventListener("click", undo);
  $("clear").addEventListener("click", () => {
    done = [];
    drawAll();
    say("Masks cleared");
  });
  $("eraser").addEventListener("click", () => erase(!erasing));
  $("rest").addEventListener("click", () => {
    done.push({ kind: "rest", style: brush });
    drawAll();
  });
  document.addEventListener("pictures-changed", refresh);
}
