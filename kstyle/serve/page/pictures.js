// The photograph and the paintings that were chosen: dropped, picked from a file or from what comes with kstyle.
// "pictures-changed" is sent to the document.

import { $, complain, make, say, show } from "./dom.js";
import { address, send } from "./server.js";

/** Of the masks, one a painting: told apart by people who see colours differently, and on most photographs. */
export const COLOURS = ["#ff8a00", "#00b3e6", "#e0409a", "#8bc400", "#7d5fff", "#ffd21f", "#00c9a7", "#ff5a4f"];

/**
 * photo: {id, name, width, height} or null. styles: of {id, name, weight, colour}; a style network's id is style:NAME,
 * and it stands alone.
 */
export const chosen = { photo: null, styles: [] };

let boot = null;

export const isNetwork = id => id.startsWith("style:");
export const byNetwork = () => chosen.styles.some(style => isNetwork(style.id));

const changed = () => document.dispatchEvent(new Event("pictures-changed"));
const stem = name => name.replace(/^style:/, "").replace(/\.[^.]*$/, "");

/** The picture that stands for a style: of a network the painting of the same name, if there is one. */
function thumbnail(style) {
  if (!isNetwork(style.id)) return address.thumbnail(style.id);
  const painting = boot.examples.find(each => stem(each.name) === stem(style.id));
  return painting ? address.thumbnail(painting.id) : "";
}

export function setPhoto(picture) {
  chosen.photo = picture;
  draw();
  changed();
}

export function addStyle(picture, weight = 5) {
  if (chosen.styles.some(style => style.id === picture.id)) return;
  if (isNetwork(picture.id) || byNetwork()) chosen.styles = [];
  const colour = COLOURS.find(each => chosen.styles.every(style => style.colour !== each));
  if (!colour) {
    complain($("refusal"), `At most ${COLOURS.length} paintings at once.`);
    return;
  }
  chosen.styles.push({ ...picture, weight, colour });
  draw();
  changed();
}

function removeStyle(id) {
  const at = chosen.styles.findIndex(style => style.id === id);
  chosen.styles.splice(at, 1);
  draw();
  changed();
  ($("styles").children[Math.min(at, chosen.styles.length - 1)]?.querySelector("button") || $("styles-file")).focus();
}

/** The pictures of a job that was painted, in place of those chosen. */
export function take(photo, styles, weights) {
  chosen.photo = photo;
  chosen.styles = [];
  styles.forEach((style, number) => addStyle(style, weights?.[number] ?? 5));
  draw();
  changed();
}

/** Weights to send; null: equal ones. */
export function weights() {
  const all = chosen.styles.map(style => style.weight);
  return all.every(weight => weight === all[0]) ? null : all;
}

/** Sends files; `use` gets each picture. What is no picture, or too large, is said in the form's error line. */
export async function upload(files, use) {
  complain($("refusal"), "");
  for (const file of files) {
    if (file.size > boot.limits.bytes) {
      complain(
        $("refusal"),
        `${file.name} has ${Math.ceil(file.size / 1e6)} MB; at most ${Math.floor(boot.limits.bytes / 1e6)} are taken.`,
      );
      continue;
    }
    document.body.classList.add("sending");
    say(`Reading ${file.name}`);
    try {
      use(await send(file, file.name));
    } catch (refusal) {
      complain($("refusal"), refusal.message);
    } finally {
      document.body.classList.remove("sending");
    }
  }
}

/** Files that were dropped or pasted anywhere: the first is the photograph if there is none, others are paintings. */
export function arrived(files, place) {
  if (place === "photo")
    return upload([...files].slice(0, 1), setPhoto).then(() => upload([...files].slice(1), addStyle));
  if (place === "style") return upload(files, addStyle);
  return upload(files, picture => (chosen.photo ? addStyle(picture) : setPhoto(picture)));
}

function draw() {
  const { photo, styles } = chosen;
  show($("photo"), photo);
  $("photo-ask").textContent = photo ? "Choose another…" : "Choose a photograph…";
  if (photo) {
    $("photo").replaceChildren(
      make("img", { src: address.thumbnail(photo.id), alt: "" }),
      make(
        "p",
        {},
        make("b", { textContent: photo.name }),
        make("small", { textContent: `${photo.width} × ${photo.height}` }),
      ),
    );
  }
  $("styles").replaceChildren(...styles.map(row));
  shares();
  for (const button of document.querySelectorAll(".shelf button")) {
    const { id, role } = button.dataset;
    button.setAttribute("aria-pressed", role === "photo" ? photo?.id === id : styles.some(style => style.id === id));
  }
}

function row(style, number) {
  const chip = make("i", { className: "chip" });
  chip.style.backgroundColor = style.colour;
  const remove = make("button", { type: "button", className: "remove", title: "Take away", textContent: "×" });
  remove.setAttribute("aria-label", `Take ${style.name} away`);
  remove.addEventListener("click", () => removeStyle(style.id));
  const source = thumbnail(style);
  const item = make(
    "li",
    { className: "chosen" },
    source ? make("img", { src: source, alt: "" }) : make("i", { className: "blank" }),
    make(
      "p",
      {},
      make("b", { textContent: stem(style.name) === stem(style.id) ? stem(style.id) : style.name }),
      make("small", { className: "share" }),
    ),
    remove,
  );
  if (chosen.styles.length > 1) {
    item.prepend(chip);
    const weight = make("input", { type: "range", min: 0, max: 10, step: 0.5, value: style.weight });
    weight.setAttribute("aria-label", `Weight of painting ${number + 1}, ${style.name}`);
    weight.addEventListener("input", () => {
      style.weight = Number(weight.value);
      shares();
    });
    item.append(weight);
  }
  return item;
}

/** Beside each painting: its part of the whole. */
function shares() {
  const total = chosen.styles.reduce((sum, style) => sum + style.weight, 0);
  document.querySelectorAll("#styles .share").forEach((place, number) => {
    const style = chosen.styles[number];
    if (chosen.styles.length > 1)
      place.textContent = total ? `${Math.round((100 * style.weight) / total)} %` : "weight 0";
    else place.textContent = isNetwork(style.id) ? "a style network" : `${style.width} × ${style.height}`;
  });
}

function shelf(place, pictures, role, use) {
  place.replaceChildren(
    ...pictures.map(picture => {
      const source = thumbnail(picture);
      const button = make("button", { type: "button", title: picture.description || picture.name });
      button.setAttribute(
        "aria-label",
        picture.description ? `${stem(picture.name)}: ${picture.description}` : picture.name,
      );
      Object.assign(button.dataset, { id: picture.id, role });
      button.append(
        source
          ? make("img", { src: source, alt: "", loading: "lazy" })
          : make("span", { textContent: stem(picture.name) }),
      );
      button.addEventListener("click", () => use(picture));
      return button;
    }),
  );
}

/** Fills the shelves with what comes with kstyle. A press on a painting that is chosen takes it away. */
export function begin(data) {
  boot = data;
  const of = kind => data.examples.filter(each => !each.kind || each.kind === kind);
  const toggle = picture => {
    if (chosen.styles.some(style => style.id === picture.id)) removeStyle(picture.id);
    else addStyle(picture);
  };
  shelf($("photo-shelf"), of("photograph"), "photo", setPhoto);
  shelf($("styles-shelf"), of("painting"), "style", toggle);
  shelf(
    $("networks-shelf"),
    data.styles.map(style => ({ id: style.name, ...style })),
    "style",
    toggle,
  );
  show($("networks-title"), data.styles.length);
  const files = (input, place) =>
    input.addEventListener("change", () => {
      arrived([...input.files], place);
      input.value = "";
    });
  files($("photo-file"), "photo");
  files($("first-file"), "photo");
  files($("styles-file"), "style");
  draw();
}
