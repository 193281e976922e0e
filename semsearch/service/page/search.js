// The search: an answer to what the address says, then the reasons for it.

import { ask } from "./api.js";
import { el, find, plural, tell } from "./dom.js";
import { hitItem, placeKey } from "./hit.js";
import { filters, go, link } from "./state.js";

const SURE = 0.99;
const DOUBTFUL = 0.95;
let last = { key: null, answer: null };

/** The answer to what a state asks; the last one is kept, so that the map lights what was just shown. */
export async function answerTo(state, collection, signal) {
  const { path, body } = request(state, collection);
  const key = JSON.stringify([path, body]);
  if (last.key !== key) last = { key, answer: await ask(path, { method: "POST", body, signal }) };
  return last.answer;
}

export async function show(state, { collection, signal, openDocument }) {
  const view = find("#view");
  if (!state.q.trim() && !state.like) {
    view.replaceChildren(await welcome(collection, signal));
    tell("");
    return;
  }
  tell("Searching …");
  const started = performance.now();
  last.key = null; // a question that is asked again is answered again
  const [answer, said] = await Promise.all([
    answerTo(state, collection, signal),
    state.like ? null : ask("/v1/judgements", { query: { collection, query: state.q }, signal }),
  ]);
  const judged = new Map((said?.judgements ?? []).map((each) => [placeKey(each), each.grade]));
  const asked = { query: state.like ? "" : state.q, collection: answer.collection, answer };
  const open = (event, hit) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openDocument(hit);
  };
  open.address = (hit) => link({ ...state, open: hit.path, lines: `${hit.line_start}-${hit.line_end}` });
  const like = (hit) => go({ ...state, q: "", like: `${hit.path}:${hit.line_start}`, mode: "", open: "", lines: "" });
  const items = answer.hits.map((hit) => hitItem(hit, { asked, open, like, judged }));
  const notes = el("div", {}, ...answer.notes.map((note) => el("p", { class: "note" }, note)));
  if (state.like) notes.prepend(el("p", { class: "note" }, "More like ", el("b", {}, state.like)));
  view.replaceChildren(notes, items.length ? el("ol", { class: "hits" }, ...items) : nothing(state));
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  tell(`${items.length ? plural(items.length, "hit") : "Nothing"} in ${seconds} s · collection ${answer.collection}, `
    + `generation ${answer.generation}, encoder ${answer.fingerprint.slice(0, 8)}`);
  if (items.length) explain(request(state, collection), answer, items, notes, signal);
}

function request(state, collection) {
  const common = { collection, filter: filters(state), ...(state.sure ? { min_confidence: SURE } : {}) };
  return state.like
    ? { path: "/v1/similar", body: { place: state.like, ...common } }
    : { path: "/v1/search", body: { query: state.q, ...(state.mode ? { mode: state.mode } : {}), ...common } };
}

/** Fill in why each hit was found: it takes the model a moment longer, so the hits do not wait for it. */
async function explain({ path, body }, answer, items, notes, signal) {
  const full = await ask(path, { method: "POST", body: { ...body, explain: true }, signal })
    .catch(() => null); // without reasons the answer still stands
  if (full === null || full.version !== answer.version || signal.aborted) return;
  const whys = new Map(full.hits.map((hit) => [hit.passage, hit.explanation]));
  const best = {};
  for (const why of whys.values()) {
    for (const [name, score] of Object.entries(why.scores)) best[name] = Math.max(best[name] ?? 0, score ?? 0);
  }
  answer.hits.forEach((hit, at) => whys.has(hit.passage) && items[at].explain(whys.get(hit.passage), best));
  const words = (body.query ?? "").trim().split(/\s+/).length;
  const clear = (why) => why.percentile >= DOUBTFUL || why.terms.length >= words / 2;
  if (!body.place && body.mode !== "lexical" && ![...whys.values()].some(clear)) {
    notes.prepend(el("p", { class: "note" }, "Nothing here is clearly about your question: these are only the nearest passages."));
  }
}

function nothing(state) {
  const ways = [];
  const without = (text, changes) => ways.push(el("li", {}, el("a", { href: link({ ...state, ...changes }) }, text)));
  if (state.sure) without("Show the nearest passages all the same", { sure: "" });
  if (filters(state).length) without("Search without filters", { type: "", path: "", since: "", until: "" });
  if (state.mode === "lexical") without("Search by meaning too", { mode: "" });
  return el("div", { class: "card" },
    el("h2", {}, state.sure ? "Nothing relevant" : "Nothing found"),
    el("p", {}, state.sure
      ? "No passage is more similar to this than 99% of random pairs of passages are to each other."
      : "No passage of the collection matches."),
    ways.length ? el("ul", {}, ...ways) : el("p", { class: "quiet" }, "Try other words."));
}

async function welcome(collection, signal) {
  const found = await ask(`/v1/collections/${encodeURIComponent(collection)}/status`, { signal });
  return el("div", { class: "card" },
    el("h2", {}, `Collection ${found.collection}`),
    el("p", {}, `${plural(found.files.indexed, "file")}, ${plural(found.passages.total, "passage")}. `
      + "Ask in your own words; \"quotes\" find a phrase."),
    el("p", { class: "quiet" }, found.roots.join(", ")));
}
