// One job on the stage: the picture as it is painted, how far it is, and what can be done with it.

import { begin as curve } from "./curve.js";
import { $, complain, copyButton, duration, figure, make, say, show } from "./dom.js";
import { active, address, forget, go, larger, stop, watch } from "./server.js";

export const GONE = "That painting is no longer here.";
const STATES = { waiting: "Waiting", painting: "Painting", stopped: "Stopped", finished: "Finished", failed: "Failed" };

let current = null; // the job that is shown, as it was told last
let unwatch = () => {};
let shown = { id: null, version: 0 }; // the picture on the page
let loading = false;
const draw = curve($("curve"));

const isNetwork = job => job.settings.styles[0].startsWith("style:");

/** The line under the picture. */
function state(job) {
  const steps = job.step && job.total > 1 ? `step ${job.step} of ${job.total}` : "";
  if (job.state === "waiting") return job.place ? `Waiting: ${job.place} before it` : "Waiting";
  if (job.state === "painting") {
    if (!job.step) return "Painting: making ready";
    return [`Painting: ${steps}`, job.left === null ? "" : `${duration(job.left)} left`].filter(Boolean).join(" · ");
  }
  if (job.state === "finished")
    return ["Finished", `${job.width} × ${job.height}`, `in ${duration(job.seconds)}`].join(" · ");
  return [STATES[job.state], steps].filter(Boolean).join(" at ");
}

/** Puts the newest picture on the page once it is decoded, so that nothing flickers; those before it are left out. */
async function picture() {
  if (loading) return;
  loading = true;
  while (current && current.version && (shown.id !== current.id || shown.version !== current.version)) {
    const { id, version, content } = current;
    const image = new Image();
    image.alt = `Painting of ${content.name}`;
    image.src = address.painted(id, version);
    const fine = await image.decode().then(
      () => true,
      () => false,
    );
    if (current?.id !== id) continue;
    if (!fine) break; // the next version asks again
    if (!$("before").src) $("before").src = address.content(id);
    $("after").replaceChildren(image);
    shown = { id, version };
    image.dataset.version = version;
    show($("compare"), true);
    show($("result-none"), false);
  }
  loading = false;
}

function draws(job) {
  const before = current;
  current = job;
  if (!before || before.id !== job.id) {
    $("compare").style.setProperty("--ratio", job.width / job.height);
    $("before").removeAttribute("src");
    show($("compare"), false);
    show($("result-none"), true);
    $("after").replaceChildren();
    shown = { id: null, version: 0 };
    cut(0);
    recipe(job);
  }
  show($("job"), true);
  show($("result-none"), !job.version);
  $("result-none").textContent = active(job) ? "The first picture comes in a moment." : "No picture was made.";
  picture();
  $("state").textContent = state(job);
  $("progress").max = Math.max(job.total, 1);
  if (active(job) && !job.step) $("progress").removeAttribute("value");
  else $("progress").value = job.state === "finished" ? $("progress").max : job.step;
  $("progress").className = job.state;
  complain($("job-error"), job.error);
  const { state: is } = job,
    whole = is === "finished" || (is === "stopped" && job.version > 0);
  show($("stop"), active(job));
  show($("continue"), is === "stopped" || is === "failed");
  $("continue").textContent = is === "failed" ? "Try again" : "Continue";
  show($("more"), is === "finished" && !isNetwork(job));
  show($("larger"), whole);
  show($("download"), whole);
  $("download").href = address.download(job.id);
  losses(job);
  document.title =
    job.state === "painting" && job.step ? `${Math.floor((100 * job.step) / job.total)} % · kstyle` : "kstyle";
  if (before?.id !== job.id || before?.state !== job.state) say(state(job));
  document.dispatchEvent(
    new CustomEvent("job-told", { detail: { job, turned: before?.id !== job.id || before.state !== job.state } }),
  );
}

function losses(job) {
  show($("losses"), job.history.length > 1);
  if (job.history.length > 1) draw(job.history);
  $("terms").replaceChildren(
    ...Object.entries(job.losses).flatMap(([name, value]) => [
      make("dt", { textContent: name }),
      make("dd", { textContent: figure(value) }),
    ]),
  );
}

function recipe(job) {
  $("recipe-body").replaceChildren(
    settingsList(job),
    make("pre", { tabIndex: 0 }, make("code", { textContent: job.command })),
    copyButton(job.command),
  );
  $("recipe-body").querySelector("pre").setAttribute("aria-label", "Command");
}

/** What a job was painted with, as a list. */
export function settingsList(job) {
  const { settings } = job;
  const said = {
    photograph: job.content.name,
    paintings: job.styles.map(style => style.name).join(", "),
    preset: isNetwork(job) ? null : settings.preset,
    size: `${job.width} × ${job.height}`,
    steps: isNetwork(job) ? null : job.total,
    strength: settings.strength,
    "brush size": settings.brush,
    colours: settings.colour,
    weights: settings.weights?.join(", "),
    masks: settings.masks ? "painted" : null,
    seed: settings.seed,
    begun: new Date(job.created).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }),
  };
  const list = make("dl", { className: "settings" });
  for (const [name, value] of Object.entries(said)) {
    if (value !== null && value !== undefined)
      list.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
  }
  return list;
}

/** How much of the photograph is laid over the painting, in hundredths of the width; slider.js does the rest. */
function cut(part) {
  $("cut").value = part;
  $("cut").dispatchEvent(new Event("input"));
}

/** Shows a job and follows it. */
export function open(id) {
  unwatch();
  complain($("job-error"), "");
  unwatch = watch(id, draws, () => close(GONE));
}

/** Shows none. */
export function close(line = "What you paint is shown here as it comes about.") {
  unwatch();
  unwatch = () => {};
  current = null;
  for (const part of ["job", "compare"]) show($(part), false);
  $("result-none").textContent = line;
  show($("result-none"), true);
  document.title = "kstyle";
  document.dispatchEvent(new Event("job-closed"));
}

export const opened = () => current;

/** Does something with the job that is shown, and says why it cannot be done. */
async function act(button, deed) {
  button.disabled = true;
  complain($("job-error"), "");
  try {
    await deed(current.id);
  } catch (refusal) {
    complain($("job-error"), refusal.message);
  } finally {
    button.disabled = false;
  }
}

/** Takes a job out of the folder. */
export async function remove(id) {
  await forget(id);
  if (current?.id === id) {
    close();
    history.replaceState(null, "", location.pathname);
  }
}

/** `paintedLarger(job)` and `reuse(job)` are the page's. */
export function begin(paintedLarger, reuse) {
  const goOn = async (id, steps) => {
    await go(id, steps);
    open(id);
  };
  $("stop").addEventListener("click", () => act($("stop"), stop));
  $("continue").addEventListener("click", () => act($("continue"), goOn));
  $("more-go").addEventListener("click", () => {
    if ($("more-steps").reportValidity()) act($("more-go"), id => goOn(id, Number($("more-steps").value)));
  });
  $("larger").addEventListener("click", () => act($("larger"), async id => paintedLarger(await larger(id))));
  $("reuse").addEventListener("click", () => act($("reuse"), () => reuse(current)));
}
