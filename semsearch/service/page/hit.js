// One hit: title, place, text, scores, why, duplicates, and what can be done with it.

import { ask } from "./api.js";
import { el, fail, parts, placeOf, plural, tell } from "./dom.js";
import { marked } from "./marked.js";

const NAMES = { dense: "meaning", lexical: "words", sparse: "terms" };

/**
 * Return a hit as a list item.
 *
 * asked: {query, collection, answer}, open(hit): show its document, like(hit): search for more like it,
 * judged: Map of place → grade.
 */
export function hitItem(hit, { asked, open, like, judged }) {
  const title = hit.title || parts(hit.path).name;
  const name = `hit-${hit.rank}`;
  const more = el("div", { class: "more" });
  const article = el("article", { "aria-labelledby": name },
    el("header", {},
      el("h2", { id: name }, el("a", { href: open.address(hit), onclick: (event) => open(event, hit) }, title)),
      el("p", { class: "place", title: hit.path }, placeOf(hit)),
      hit.heading && hit.heading !== title ? el("p", { class: "place" }, hit.heading) : null),
    marked(hit),
    more,
    twins(hit),
    el("div", { class: "line actions" },
      el("button", { type: "button", class: "small", onclick: (event) => open(event, hit) }, "In context"),
      el("button", { type: "button", class: "small", onclick: () => like(hit) }, "More like this"),
      asked.query ? judging(hit, asked, judged) : null));
  const item = el("li", {}, article);
  item.explain = (explanation, best) => more.replaceChildren(...explained(explanation, best));
  return item;
}

/** The place of a hit as judgements name it. */
export function placeKey(place) {
  return JSON.stringify([place.path, place.record ?? place.document ?? null, place.line_start, place.line_end]);
}

function judging(hit, asked, judged) {
  const group = el("div", { class: "judge", role: "group", "aria-label": "Does it answer the question?" });
  const button = (text, grade, kind) => el("button", {
    type: "button", class: `small ${kind}`, onclick: () => say(judged.get(placeKey(hit)) === grade ? null : grade),
  }, text);
  const buttons = [[button("✓ Right", 1, "right"), 1], [button("✗ Wrong", 0, "wrong"), 0]];
  const show = () => {
    const grade = judged.get(placeKey(hit));
    for (const [each, own] of buttons) {
      each.setAttribute("aria-pressed", String(grade !== undefined && (own ? grade > 0 : grade === 0)));
    }
  };
  const say = async (grade) => {
    const body = {
      collection: asked.collection, query: asked.query, path: hit.path, record: hit.document,
      line_start: hit.line_start, line_end: hit.line_end,
      encoder: asked.answer.fingerprint, generation: asked.answer.generation,
    };
    try {
      if (grade === null) await ask("/v1/judgements", { method: "DELETE", body });
      else await ask("/v1/judgements", { method: "POST", body: { ...body, grade } });
    } catch (error) {
      fail(error.message);
      return;
    }
    if (grade === null) judged.delete(placeKey(hit));
    else judged.set(placeKey(hit), grade);
    show();
    tell(grade === null ? "Taken back." : `Kept: hit ${hit.rank} is ${grade ? "right" : "wrong"}.`);
  };
  show();
  group.append(...buttons.map(([each]) => each));
  return group;
}

function twins(hit) {
  if (!hit.duplicates.length) return null;
  return el("details", { class: "twins" },
    el("summary", {}, `Nearly the same in ${plural(hit.duplicates.length, "other place")}`),
    el("ul", {}, ...hit.duplicates.map((twin) => el("li", {},
      placeOf(twin) + (twin.difference ? ` (${twin.difference})` : "")))));
}

/** Return score bars and the reasons; `best`: retriever → its best score among the hits. */
function explained(why, best) {
  const rows = Object.entries(why.scores).filter(([, score]) => score !== null).flatMap(([retriever, score]) => {
    const share = Math.max(0, Math.min(1, score / (best[retriever] || 1)));
    const bar = el("span");
    bar.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
    return [
      el("span", {}, NAMES[retriever] ?? retriever), el("span", { class: "track", "aria-hidden": "true" }, bar),
      el("span", { class: "value" }, score.toFixed(score < 0.1 ? 3 : 2)),
    ];
  });
  const said = reasons(why);
  return [
    rows.length ? el("div", { class: "scores" }, ...rows) : null,
    said.length ? el("details", {}, el("summary", {}, "Why"), el("div", { class: "why" },
      ...said.map((text) => el("p", {}, text)))) : null,
  ].filter(Boolean);
}

function reasons(why) {
  const said = [];
  if (why.percentile !== null) {
    const share = Math.floor(1000 * why.percentile) / 10;
    said.push(`Nearer to the question than ${share}% of random pairs of passages are to each other.`);
  }
  if (why.terms.length) said.push(`Words of the question that stand here: ${why.terms.join(", ")}.`);
  const list = (words) => words.map(([word, weight]) => `${word} ${Math.round(100 * weight)}%`).join(", ");
  if (why.query_means.length) said.push(`The question in one word, says the model: ${list(why.query_means)}.`);
  if (why.passage_means.length) said.push(`This passage in one word: ${list(why.passage_means)}.`);
  if (why.shared.length) said.push(`In both: ${why.shared.join(", ")}.`);
  if (why.rerank !== null) said.push(`The cross-encoder gives ${why.rerank.toFixed(2)}.`);
  return said;
}
