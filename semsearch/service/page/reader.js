// A document in a dialog, at the lines that are meant.

import { ask } from "./api.js";
import { el, find, parts, shortPath } from "./dom.js";

const CONTEXT = 60;
const MOST_LINES = 5000;

/** Show lines of an indexed file with what stands around them. */
export async function open(path, lines, collection, signal) {
  const dialog = find("#document");
  const [first, last] = lines.split("-").map(Number);
  const load = (context) => ask("/v1/documents", { query: { path, lines, collection, context }, signal });
  const shown = await load(CONTEXT);
  render(shown);
  if (!dialog.open) dialog.showModal();
  scroll();

  function render(extract) {
    const rows = extract.text.split("\n").slice(0, MOST_LINES).map((text, at) => {
      const number = extract.line_start + at;
      const meant = number >= first && number <= (last || first);
      return el("div", { class: meant ? "row meant" : "row" }, el("span", { "aria-hidden": "true" }, String(number)), el("span", {}, text || " "));
    });
    find("#document-name").textContent = extract.title || parts(extract.path).name;
    const more = el("button", { type: "button", class: "small", onclick: async () => {
      render(await load(100_000));
      scroll();
    } }, "Show the whole document");
    const part = `${shortPath(extract.path)} · lines ${extract.line_start}–${extract.line_end} `;
    dialog.querySelector(".about").replaceChildren(part, extract === shown ? more : "");
    dialog.querySelector(".text").replaceChildren(...rows);
  }

  function scroll() {
    dialog.querySelector(".meant")?.scrollIntoView({ block: "center" });
    dialog.querySelector(".text").focus({ preventScroll: true });
  }
}
