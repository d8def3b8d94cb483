// The server: questions to it, pictures sent, what a job tells of itself while it is painted. A server that goes away
// is asked until it is back; "server-back" is then sent to the document.

import { $, show } from "./dom.js";

const AGAIN = 1500; // milliseconds

/** The server answered, and the answer is no: `message` is its line. */
export class Refusal extends Error {
  constructor(line, status) {
    super(line);
    this.status = status;
  }
}

let away = false;

/** Says that the server does not answer, until it does. */
function lost() {
  if (away) return;
  away = true;
  show($("away"), true);
  const probe = async () => {
    try {
      await fetch("/api/jobs", { cache: "no-store" });
    } catch {
      setTimeout(probe, AGAIN);
      return;
    }
    away = false;
    show($("away"), false);
    document.dispatchEvent(new Event("server-back"));
  };
  setTimeout(probe, AGAIN);
}

async function ask(path, method = "GET", body = undefined) {
  // The header is what a page of another origin cannot send.
  const headers = method === "GET" ? {} : { "X-Kstyle": "1" };
  if (body !== undefined && !(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, { method, headers, body, cache: "no-store" });
  } catch {
    lost();
    throw new Refusal("The server does not answer.", 0);
  }
  const answer = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(answer?.error || `The server answered with ${response.status}.`, response.status);
  return answer;
}

const of = (id, what = "") => `/api/jobs/${encodeURIComponent(id)}${what}`;

export const jobs = () => ask("/api/jobs");
export const job = id => ask(of(id));
export const begin = settings => ask("/api/jobs", "POST", settings);
export const stop = id => ask(of(id, "/stop"), "POST", {});
export const go = (id, steps = null) => ask(of(id, "/continue"), "POST", { steps });
export const larger = id => ask(of(id, "/larger"), "POST", {});
export const forget = id => ask(of(id), "DELETE");

export const send = (blob, name) => ask(`/api/pictures?name=${encodeURIComponent(name)}`, "PUT", blob);

export const address = {
  picture: id => `/api/pictures/${encodeURIComponent(id)}`,
  thumbnail: id => `/api/pictures/${encodeURIComponent(id)}?thumbnail`,
  painted: (id, version) => of(id, `/picture?v=${version}`),
  small: (id, version) => of(id, `/picture?thumbnail&v=${version}`),
  content: id => of(id, "/content"),
  download: id => of(id, "/picture?download"),
};

export const active = job => job.state === "waiting" || job.state === "painting";

/**
 * Tells of a job at once and at each change, until it is no longer painted.
 *
 * @param {string} id
 * @param {(job: object) => void} tell
 * @param {(refusal: Refusal) => void} fail the server knows no such job.
 * @returns {() => void} stops it.
 */
export function watch(id, tell, fail) {
  let source = null,
    ended = false,
    timer = 0;
  const close = () => {
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    source = new EventSource(of(id, "/events"));
    source.onmessage = event => {
      const told = JSON.parse(event.data);
      if (!active(told)) close();
      tell(told);
    };
    source.onerror = async () => {
      // The server ended it, is gone, or knows no such job: asking tells which.
      close();
      try {
        const told = await job(id);
        if (ended) return;
        tell(told);
        if (active(told)) timer = setTimeout(open, AGAIN);
      } catch (refusal) {
        if (!ended && refusal.status) fail(refusal);
      }
    };
  };
  const back = () => {
    if (!source) open();
  };
  document.addEventListener("server-back", back);
  open();
  return () => {
    ended = true;
    clearTimeout(timer);
    close();
    document.removeEventListener("server-back", back);
  };
}
