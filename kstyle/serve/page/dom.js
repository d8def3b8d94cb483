// Elements, made and found; the page's live region; what numbers are called.

export const $ = id => document.getElementById(id);

/**
 * An element of this kind with these properties and children. Text is only ever text: names of files come from
 * strangers.
 */
export function make(kind, properties = {}, ...children) {
  const made = document.createElement(kind);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export const show = (element, yes) => {
  element.hidden = !yes;
};

/** Says a line to screen readers. */
export function say(line) {
  if ($("said").textContent !== line) $("said").textContent = line;
}

/** Shows a line of error in its place, or takes it away. */
export function complain(place, line) {
  place.textContent = line || "";
  show(place, Boolean(line));
}

/** "about 2 min": seconds as one says them. */
export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** Three digits: 0.0123, 4.57, 1,230. */
export const figure = value => value.toLocaleString("en", { maximumSignificantDigits: 3 });

/** A button that copies a text and says so. */
export function copyButton(text) {
  const button = make("button", { type: "button", className: "small", textContent: "Copy command" });
  button.addEventListener("click", async () => {
    const copied = await copy(text);
    button.textContent = copied ? "Copied" : "Could not be copied";
    say(button.textContent);
    setTimeout(() => {
      button.textContent = "Copy command";
    }, 1500);
  });
  return button;
}

/** The clipboard is there on secure addresses only: loopback is one, another host without TLS is not. */
async function copy(text) {
  if (navigator.clipboard)
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  const area = make("textarea", { value: text, className: "unseen" });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}
