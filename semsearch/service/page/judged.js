// What was judged, and how well the present settings answer it.

import { ask } from "./api.js";
import { el, fail, figures, find, plural, shortPath, tell } from "./dom.js";
import { link } from "./state.js";

const MODES = [["", "meaning and words"], ["dense", "meaning"], ["lexical", "words"]];

export async function show(state, { collection, signal }) {
  tell("Reading what was judged …");
  const { judgements } = await ask("/v1/judgements", { query: { collection }, signal });
  const queries = new Set(judgements.map((each) => each.query)).size;
  const quality = el("div", {}, el("p", { class: "quiet" }, "Asking every judged question again …"));
  find("#view").replaceChildren(
    judgements.length ? quality : el("div", { class: "card" },
      el("h2", {}, "Nothing has been judged yet"),
      el("p", {}, "Search, and call hits right or wrong. What you say stays with the collection: it measures every way "
        + "to search, tunes the weights, and trains the encoder.")),
    judgements.length ? list(state, collection, judgements, signal) : "");
  tell(judgements.length ? `${plural(judgements.length, "judgement")} of ${plural(queries, "question")}` : "");
  if (judgements.length) await measure(state, collection, quality, signal);
}

async function measure(state, collection, box, signal) {
  const rows = [];
  for (const [mode, name] of MODES) {
    const found = await ask("/v1/quality", { query: { collection, mode }, signal });
    if (found.value === null) {
      box.replaceChildren(el("p", {}, "Nothing was called right yet, so there is nothing to measure by."));
      return;
    }
    rows.push([mode === state.mode ? `${name} (in use)` : name, found.value.toFixed(3), found]);
    const { measure: measured, queries, fingerprint } = rows[0][2];
    box.replaceChildren(
      el("h2", {}, `${measured} over ${plural(queries, "judged question")}`),
      figures(rows.map(([label, value]) => [label, value])),
      el("p", { class: "quiet" }, `1 is best. Encoder ${fingerprint.slice(0, 8)}. Next: semsearch eval tune -c ${collection} --save, `
        + `or semsearch train --collection ${collection}.`));
  }
}

function list(state, collection, judgements, signal) {
  const rows = judgements.toReversed().map((each) => {
    const row = el("tr", {},
      el("td", {}, each.grade ? "✓ right" : "✗ wrong"),
      el("td", {}, el("a", { href: link({ q: each.query, collection: state.collection }) }, each.query)),
      el("td", {}, shortPath(each.path) + (each.line_start === null ? "" : ` · line ${each.line_start}`)),
      el("td", { class: "quiet" }, each.at ? new Date(each.at).toLocaleString() : ""),
      el("td", {}, el("button", { type: "button", class: "small", "aria-label": `Take back: ${each.query}`, onclick: () => back(each, row) }, "Take back")));
    return row;
  });
  async function back(each, row) {
    const { grade, at, ...place } = each;
    try {
      await ask("/v1/judgements", { method: "DELETE", body: { collection, ...place }, signal });
    } catch (error) {
      fail(error.message);
      return;
    }
    row.remove();
    tell("Taken back.");
    find("#view").focus();
  }
  return el("section", {}, el("h2", {}, "What was said"), el("div", { class: "table" },
    el("table", { class: "stacked" },
      el("thead", {}, el("tr", {}, ...["Said", "Question", "Place", "When", ""].map((head) => el("th", { scope: "col" }, head || el("span", { class: "hidden" }, "Take back"))))),
      el("tbody", {}, ...rows))));
}
