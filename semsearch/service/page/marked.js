// The text of a hit: its most telling sentence and the query's words marked, cut to what fits.

import { el } from "./dom.js";

const BEFORE = 160;
const SHOWN = 700;

/** Return a hit's text, with a button that shows all of a long one. */
export function marked(hit) {
  const letters = Array.from(hit.text); // the server counts characters, JavaScript counts halves of some
  const box = el("div", { class: hit.kind === "code" ? "passage code" : "passage" });
  const around = hit.highlight?.[0] ?? hit.matches[0]?.[0] ?? 0;
  const from = letters.length <= SHOWN + BEFORE ? 0 : wordStart(letters, Math.max(0, around - BEFORE));
  const to = letters.length <= SHOWN + BEFORE ? letters.length : Math.min(letters.length, from + SHOWN);
  box.append(from ? "… " : "", ...spans(letters, hit, from, to), to < letters.length ? " …" : "");
  if (from === 0 && to === letters.length) return box;
  const button = el("button", { type: "button", class: "small", "aria-expanded": "false" },
    `Show all ${letters.length.toLocaleString("en")} characters`);
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") === "false";
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Show less" : `Show all ${letters.length.toLocaleString("en")} characters`;
    const [first, last] = open ? [0, letters.length] : [from, to];
    box.replaceChildren(first ? "… " : "", ...spans(letters, hit, first, last), last < letters.length ? " …" : "");
  });
  const both = document.createDocumentFragment();
  both.append(box, el("p", {}, button));
  return both;
}

function wordStart(letters, at) {
  if (at === 0) return 0;
  for (let i = at; i < Math.min(at + 40, letters.length); i += 1) if (/\s/.test(letters[i])) return i + 1;
  return at;
}

/** Return the pieces of letters[from, to): words within <b>, the sentence within <mark>. */
function spans(letters, hit, from, to) {
  const [start, end] = hit.highlight ?? [0, 0];
  const cuts = [start, end].map((at) => Math.min(Math.max(at, from), to));
  const piece = (first, last) => words(letters, hit.matches, first, last);
  return [
    ...piece(from, cuts[0]),
    ...(cuts[1] > cuts[0] ? [el("mark", {}, ...piece(cuts[0], cuts[1]))] : []),
    ...piece(cuts[1], to),
  ];
}

function words(letters, matches, from, to) {
  const pieces = [];
  let at = from;
  for (const [start, end] of matches) {
    if (end <= at || start >= to) continue;
    pieces.push(letters.slice(at, Math.max(at, start)).join(""));
    pieces.push(el("b", {}, letters.slice(Math.max(at, start), Math.min(end, to)).join("")));
    at = Math.min(end, to);
  }
  pieces.push(letters.slice(at, to).join(""));
  return pieces.filter((each) => each !== "");
}
