// The state of a collection: sizes, encoder, what waits for vectors, and files that failed, with the reason.

import { ask } from "./api.js";
import { el, fail, figures, find, shortPath, tell } from "./dom.js";

const SOON_MS = 2000;
const LATER_MS = 10_000;

export async function show(state, { collection, signal }) {
  const load = () => ask(`/v1/collections/${encodeURIComponent(collection)}/status`, { signal });
  const found = await load();
  render(found);
  follow(found, load, signal).catch((error) => signal.aborted || fail(error.message));
}

/** Show what changes for as long as the view is open: a run that indexes may begin at any time. */
async function follow(found, load, signal) {
  while (!signal.aborted) {
    await new Promise((done) => setTimeout(done, found.passages.pending ? SOON_MS : LATER_MS));
    if (signal.aborted) return;
    if (document.hidden) continue;
    const before = found.version;
    found = await load();
    if (found.version !== before || found.passages.pending) render(found);
  }
}

function render(found) {
  const size = Object.values(found.bytes).reduce((sum, each) => sum + each, 0);
  find("#view").replaceChildren(
    el("h2", { class: "hidden" }, `State of ${found.collection}`),
    figures([
      ["files", found.files.indexed], ["documents", found.documents], ["passages", found.passages.total],
      ["on disk", `${(size / 2 ** 20).toFixed(1)} MiB`], ["generation", found.generation],
      ["encoder", `${found.encoder.model ?? "?"} · ${found.encoder.fingerprint.slice(0, 8)}`],
    ]),
    progress(found.passages),
    el("section", {}, el("h2", {}, "Indexed"), el("ul", {}, ...found.roots.map((root) => el("li", {}, root)))),
    files("Failed", found.failed, (each) => each.reason),
    files("Read in part", found.warnings, (each) => each.warnings.join("; ")),
    files("Skipped", found.skipped, (each) => each.reason));
  tell(found.passages.pending ? waiting(found.passages) : `Collection ${found.collection} is up to date`);
}

function progress({ pending, embedded }) {
  if (!pending) return el("p", {}, "Every passage has its vector.");
  return el("section", {},
    el("label", {}, `${waiting({ pending, embedded })}; new ones are found by their words already.`,
      el("progress", { max: pending + embedded, value: embedded })));
}

function waiting({ pending, embedded }) {
  return `${pending.toLocaleString("en")} of ${(pending + embedded).toLocaleString("en")} passages wait for vectors`;
}

function files(title, entries, why) {
  if (!entries.length) return "";
  return el("section", {}, el("h2", {}, `${title} (${entries.length.toLocaleString("en")})`), el("div", { class: "table" },
    el("table", { class: "stacked" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "File"), el("th", { scope: "col" }, "Why"))),
      el("tbody", {}, ...entries.slice(0, 200).map((each) => el("tr", {}, el("td", { title: each.path }, shortPath(each.path)), el("td", {}, why(each) ?? "")))))));
}
