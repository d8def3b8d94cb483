// The form of settings: what it offers, what it says, what is sent.

import { $, make, show } from "./dom.js";
import { byNetwork } from "./pictures.js";

const SIZES = [256, 512, 768, 1024, 1536];
/** What colour modes are called here, and what they do. Others go by their own names. */
const COLOURS = {
  none: ["The painting's", "Colours come with the painting."],
  luminance: ["The photograph's", "Painted in grey; the photograph's colours go under the result."],
  "luminance-matched": [
    "The photograph's, brightness matched",
    "The same, the painting's brightness first brought to the photograph's.",
  ],
  "luminance-after": [
    "The photograph's, under a painting in colour",
    "Painted in colour, then given the photograph's.",
  ],
  "match-symmetric": [
    "The painting recoloured",
    "The painting is first given the photograph's palette, moving its colours as little as can be.",
  ],
  histogram: ["The painting recoloured, tone by tone", "As above, quantile by quantile; it can tear smooth areas."],
};

/** Sliders: of the key that is sent, its value from the slider's place and back, what is said of it, where it rests. */
const SLIDERS = {
  strength: {
    input: "strength",
    value: place => place,
    place: value => value,
    text: value => value.toFixed(2),
    rest: 0.5,
  },
  brush: {
    input: "scale",
    value: place => Number((2 ** place).toFixed(3)),
    place: value => Math.log2(value),
    text: value => `× ${value.toFixed(2)}`,
    rest: 0,
  },
};
const moved = { strength: false, brush: false };

function drawSlider(key) {
  const { input, value, text } = SLIDERS[key],
    row = $(input).closest(".slider");
  row.querySelector("output").textContent = moved[key]
    ? text(value(Number($(input).value)))
    : byNetwork()
      ? "as it was learned"
      : "as the preset has it";
  row.classList.toggle("moved", moved[key]);
  row.querySelector("button").disabled = !moved[key];
}

function setSlider(key, value) {
  const { input, place, rest } = SLIDERS[key];
  moved[key] = value !== null && value !== undefined;
  $(input).value = moved[key] ? place(value) : rest;
  drawSlider(key);
}

function setSize(size) {
  $("size").value = size;
  for (const button of $("sizes").children) button.setAttribute("aria-pressed", button.textContent === String(size));
}

function about() {
  $("preset-about").textContent = $("preset").selectedOptions[0]?.dataset.about || "";
  $("colour-about").textContent = COLOURS[$("colour").value]?.[1] || "";
}

/** What a style network has no use for is not shown. */
function fit() {
  for (const part of document.querySelectorAll("#settings .optimised")) show(part, !byNetwork());
  for (const key of Object.keys(SLIDERS)) drawSlider(key);
}

/** What the form says, in the server's words. */
export function values() {
  const number = id => ($(id).value === "" ? null : Number($(id).value));
  const slider = key => (moved[key] ? SLIDERS[key].value(Number($(SLIDERS[key].input).value)) : null);
  return {
    preset: $("preset").value,
    size: number("size"),
    steps: byNetwork() ? null : number("steps"),
    seed: number("seed") ?? 0,
    strength: slider("strength"),
    brush: slider("brush"),
    colour: $("colour").value === "none" ? null : $("colour").value,
  };
}

/** The form as a job had it. */
export function take(settings) {
  $("preset").value = settings.preset;
  $("colour").value = settings.colour || "none";
  $("steps").value = settings.steps ?? "";
  $("seed").value = settings.seed ?? 0;
  setSize(settings.size);
  for (const key of Object.keys(SLIDERS)) setSlider(key, settings[key]);
  about();
}

export function begin({ presets, colours, defaults }) {
  const groups = new Map();
  for (const { name, description, group } of presets) {
    if (!groups.has(group)) groups.set(group, make("optgroup", { label: group || "Presets" }));
    const option = make("option", { value: name, textContent: name });
    option.dataset.about = description;
    groups.get(group).append(option);
  }
  $("preset").append(...groups.values());
  const known = Object.keys(COLOURS).filter(name => colours.includes(name));
  const others = make("optgroup", { label: "Others, by name" });
  others.append(
    ...colours.filter(name => !COLOURS[name]).map(name => make("option", { value: name, textContent: name })),
  );
  $("colour").append(...known.map(name => make("option", { value: name, textContent: COLOURS[name][0] })), others);
  $("sizes").append(
    ...SIZES.map(size => {
      const button = make("button", { type: "button", textContent: size });
      button.addEventListener("click", () => setSize(size));
      return button;
    }),
  );
  $("size").addEventListener("input", () => setSize($("size").value));
  for (const [key, { input }] of Object.entries(SLIDERS)) {
    const row = $(input).closest(".slider"),
      label = row.querySelector("label").textContent;
    const reset = make("button", { type: "button", className: "reset", textContent: "Reset" });
    reset.setAttribute("aria-label", `${label}: as it was`);
    reset.addEventListener("click", () => {
      setSlider(key, null);
      $(input).focus();
    });
    row.querySelector("output").after(reset);
    $(input).addEventListener("input", () => {
      moved[key] = true;
      drawSlider(key);
    });
  }
  for (const id of ["preset", "colour"]) $(id).addEventListener("change", about);
  document.addEventListener("pictures-changed", fit);
  take({ preset: defaults.preset, size: defaults.size });
}
