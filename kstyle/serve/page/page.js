// kstyle serve: the page's parts put together.

import { $, complain, say, show } from "./dom.js";
import { mark, refresh } from "./history.js";
import * as masks from "./masks.js";
import * as painting from "./painting.js";
import * as pictures from "./pictures.js";
import { address, begin as paint, job as read } from "./server.js";
import * as settings from "./settings.js";

const boot = JSON.parse($("boot").textContent);
const VIEWS = ["photograph", "masks", "painting"];

function view(name) {
  for (const each of VIEWS) {
    show($(`view-${each}`), each === name);
    document.querySelector(`[data-view=${each}]`).setAttribute("aria-pressed", each === name);
  }
}

const viewed = () => VIEWS.find(each => !$(`view-${each}`).hidden);

/** The stage and the button as the pictures are that were chosen. */
function chosenChanged() {
  const { photo, styles } = pictures.chosen,
    large = $("photo-large");
  show($("empty"), !photo);
  show($("photo-paper"), photo);
  $("photo-caption").textContent = photo ? `${photo.name} · ${photo.width} × ${photo.height}` : "";
  if (photo && large.dataset.id !== photo.id) {
    large.dataset.id = photo.id;
    $("photo-paper").style.setProperty("--ratio", photo.width / photo.height);
    large.alt = `The photograph: ${photo.name}`;
    large.onerror = () => {
      large.onerror = null;
      large.src = address.thumbnail(photo.id);
    }; // TIFF, HEIC: no browser shows them
    large.src = address.picture(photo.id);
    view("photograph");
  }
  document.querySelector("[data-view=masks]").disabled = !masks.possible();
  if (viewed() === "masks" && !masks.possible()) view("photograph");
  const missing = [photo ? null : "a photograph", styles.length ? null : "a painting"].filter(Boolean);
  $("missing").textContent = missing.length ? `Choose ${missing.join(" and ")} first.` : "";
  $("paint").disabled = Boolean(missing.length);
}

/** The job that the address names, so that a reload or a bookmark comes back to it. */
function follow() {
  const id = new URLSearchParams(location.hash.slice(1)).get("job");
  if (!id || painting.opened()?.id === id) return id && view("painting");
  painting.open(id);
  return view("painting");
}

function go(job) {
  location.hash = `job=${job.id}`; // `follow` hears of it
  refresh(reuse);
}

/** Pictures, settings and masks as they were for a job. */
async function fill(job) {
  const picture = each => ({ width: 0, height: 0, ...boot.examples.find(known => known.id === each.id), ...each });
  const photo = picture(job.content);
  if (!photo.width) Object.assign(photo, await sizeOf(photo.id, job));
  const styles = await Promise.all(
    job.styles.map(async (style, number) => {
      const id = job.settings.styles[number],
        given = picture({ ...style, id });
      return given.width || pictures.isNetwork(id) ? given : { ...given, ...(await sizeOf(id)) };
    }),
  );
  pictures.take(photo, styles, job.settings.weights);
  settings.take(job.settings);
  await masks.take(job.settings.masks);
}

async function reuse(job) {
  await fill(job);
  view("photograph");
  say("The settings are those of that painting");
  $("stage").focus({ preventScroll: true });
  $("stage").scrollIntoView({ block: "nearest" });
}

/** A picture's pixels, as the browser counts them; where it cannot show the file, those of the painting. */
async function sizeOf(id, otherwise = { width: 0, height: 0 }) {
  const image = new Image();
  image.src = address.picture(id);
  const fine = await image.decode().then(
    () => true,
    () => false,
  );
  return fine
    ? { width: image.naturalWidth, height: image.naturalHeight }
    : { width: otherwise.width, height: otherwise.height };
}

async function submit(event) {
  event.preventDefault();
  if ($("paint").disabled) return;
  complain($("refusal"), "");
  $("paint").disabled = true;
  try {
    const { photo, styles } = pictures.chosen;
    const asked = {
      content: photo.id,
      styles: styles.map(style => style.id),
      ...settings.values(),
      weights: pictures.weights(),
    };
    go(await paint({ ...asked, masks: await masks.sent() }));
    if (matchMedia("(max-width: 60rem)").matches) $("stage").scrollIntoView({ block: "start" });
  } catch (refusal) {
    complain($("refusal"), refusal.message);
  } finally {
    $("paint").disabled = false;
  }
}

/** Files may be dropped anywhere, and pasted: over the paintings they are paintings, over the stage the photograph. */
function drops() {
  const placeOf = target =>
    target.closest?.("#styles, #styles-drop, #styles-shelf, #styles-title")
      ? "style"
      : target.closest?.("#view-photograph, #photo")
        ? "photo"
        : "";
  const over = yes => document.body.classList.toggle("over", yes);
  addEventListener("dragover", event => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    over(true);
  });
  addEventListener("dragleave", event => {
    if (!event.relatedTarget) over(false);
  });
  addEventListener("drop", event => {
    event.preventDefault();
    over(false);
    if (event.dataTransfer.files.length) pictures.arrived([...event.dataTransfer.files], placeOf(event.target));
  });
  addEventListener("paste", event => {
    if (event.clipboardData.files.length) pictures.arrived([...event.clipboardData.files], "");
  });
}

document.addEventListener("pictures-changed", chosenChanged);
masks.begin();
settings.begin(boot);
pictures.begin(boot);
painting.begin(go, reuse);
chosenChanged();
drops();
for (const button of document.querySelectorAll("[data-view]"))
  button.addEventListener("click", () => view(button.dataset.view));
$("settings").addEventListener("submit", submit);
addEventListener("hashchange", follow);
$("jobs").addEventListener("click", event => {
  if (!event.target.closest("a.open")) return;
  setTimeout(() => {
    // after the address has changed, or has not: it may be the one that is shown
    follow();
    $("stage").focus({ preventScroll: true });
    $("stage").scrollIntoView({ block: "start" });
  });
});
document.addEventListener("job-told", event => {
  mark();
  if (event.detail.turned) refresh(reuse);
});
document.addEventListener("job-closed", mark);
document.addEventListener("server-back", () => refresh(reuse));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh(reuse);
});

/** A reload comes back to the job, and to what it was made of. */
async function comeBack() {
  const id = new URLSearchParams(location.hash.slice(1)).get("job");
  if (!id) return;
  try {
    await fill(await read(id));
  } catch (refusal) {
    if (refusal.status === 404) {
      painting.close(painting.GONE);
      view("painting");
      return;
    } // else its pictures are no longer there, or the server is away for a moment
  }
  follow();
}
comeBack();
refresh(reuse);
