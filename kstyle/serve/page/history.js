// What was painted in this folder, newest first.

import { $, complain, copyButton, make, say, show } from "./dom.js";
import { opened, remove, settingsList } from "./painting.js";
import { active, address, jobs } from "./server.js";

const EVERY = 5000; // milliseconds between two looks while something is painted

const cards = new Map(); // of a job: its card and what it was made of
let timer = 0;

const stem = name => name.replace(/^style:/, "").replace(/\.[^.]*$/, "");

function card(job, use) {
  const title = `${stem(job.content.name)} × ${job.styles.map(style => stem(style.name)).join(" + ")}`;
  const link = make("a", { href: `#job=${job.id}`, className: "open" });
  link.append(
    job.version
      ? make("img", { src: address.small(job.id, job.version), alt: "", loading: "lazy" })
      : make("i", { className: "blank" }),
  );
  link.append(make("b", { textContent: title }));
  const facts = [
    job.settings.styles[0].startsWith("style:") ? null : job.settings.preset,
    `${job.width} × ${job.height}`,
    job.state === "finished" ? null : job.state,
  ];
  const again = make("button", { type: "button", className: "small", textContent: "Use these settings" });
  again.addEventListener("click", () => use(job));
  const away = make("button", { type: "button", className: "small", textContent: "Delete" });
  const error = make("p", { className: "error", hidden: true });
  error.setAttribute("role", "alert");
  away.addEventListener("click", async () => {
    if (!away.classList.contains("sure")) {
      // a second press, so that a slip loses nothing
      away.classList.add("sure");
      away.textContent = "Delete for good?";
      setTimeout(() => {
        away.classList.remove("sure");
        away.textContent = "Delete";
      }, 4000);
      return;
    }
    try {
      await remove(job.id);
      say("Deleted");
      await refresh(use);
      $("history-title").focus();
    } catch (refusal) {
      complain(error, refusal.message);
    }
  });
  const command = make("pre", { tabIndex: 0 }, make("code", { textContent: job.command }));
  command.setAttribute("aria-label", "Command");
  const summary = make("summary", { textContent: "Settings" });
  summary.setAttribute("aria-label", `Settings of ${title}`);
  return make(
    "li",
    {},
    link,
    make("p", { className: "about", textContent: facts.filter(Boolean).join(" · ") }),
    make(
      "details",
      {},
      summary,
      settingsList(job),
      command,
      make("div", { className: "buttons" }, copyButton(job.command), again, away),
      error,
    ),
  );
}

/** The card of the job that is on the stage is the current one. */
export function mark() {
  for (const [id, { item }] of cards) {
    const link = item.querySelector("a");
    if (opened()?.id === id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

/** Reads the list again. Cards of jobs that did not change stay as they are, open ones open. */
export async function refresh(use) {
  clearTimeout(timer);
  let all;
  try {
    all = await jobs();
  } catch {
    return; // the page says that the server is away, and comes here again when it is back
  }
  const ids = new Set(all.map(job => job.id));
  for (const id of cards.keys()) if (!ids.has(id)) cards.delete(id);
  for (const job of all) {
    const made = JSON.stringify([
      job.state,
      job.state === "painting" ? Boolean(job.version) : job.version,
      job.total,
      job.command,
    ]);
    const old = cards.get(job.id);
    if (old?.made === made) continue;
    const fresh = card(job, use);
    if (old?.item.querySelector("details").open) fresh.querySelector("details").open = true;
    cards.set(job.id, { made, item: fresh });
  }
  const items = all.map(job => cards.get(job.id).item),
    list = $("jobs");
  if (items.length !== list.children.length || items.some((item, number) => item !== list.children[number]))
    list.replaceChildren(...items);
  $("count").textContent = all.length || "";
  show($("history-none"), !all.length);
  mark();
  if (all.some(active)) timer = setTimeout(() => refresh(use), EVERY);
}
