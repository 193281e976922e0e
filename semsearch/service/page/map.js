// The map: passages as points, coloured by folder, with the question and its hits lit. A table says the same in words.

import { ask } from "./api.js";
import { el, find, parts, plural, tell } from "./dom.js";
import { answerTo } from "./search.js";

const LIGHT = ["#1f77a4", "#c2601a", "#2f8a4c", "#8d55b0", "#b3333f", "#7a6a1f", "#c04c93", "#3f7f86", "#7a7f84"];
const DARK = ["#6cb9e6", "#f0a063", "#78cf93", "#c69be6", "#f08d97", "#cdbb62", "#f09bce", "#86cdd4", "#a9afb4"];
const NEAR = 14;

export async function show(state, { collection, signal, openDocument }) {
  tell("Drawing …");
  const answer = state.q || state.like ? await answerTo(state, collection, signal) : null;
  const hits = answer?.hits ?? [];
  const found = await ask(`/v1/collections/${encodeURIComponent(collection)}/map`, {
    query: { query: state.q, passages: hits.map((hit) => hit.passage).join(",") }, signal,
  });
  const lit = new Map(found.hits.map((hit) => [hit.passage, hit.at]));
  const canvas = el("canvas", { role: "img", tabindex: "0", "aria-label": described(found, hits) });
  const under = el("p", { class: "under quiet", "aria-live": "polite" }, "Point at a passage to read it; arrow keys go from one to the next.");
  find("#view").replaceChildren(el("div", { class: "map" }, legend(found, hits), canvas, under, table(found, hits)));
  const draw = () => paint(canvas, found, lit, chosen);
  let chosen = -1;
  const choose = (at) => {
    chosen = at;
    const point = found.points[at];
    under.textContent = point ? `${point.title} · line ${point.line}: ${point.text}` : "";
    draw();
  };
  const openAt = (point) => point && openDocument({ path: point.path, line_start: point.line, line_end: point.line });
  canvas.addEventListener("pointermove", (event) => choose(nearest(canvas, found, event)));
  canvas.addEventListener("click", (event) => openAt(found.points[nearest(canvas, found, event)]));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step && found.points.length) {
      event.preventDefault();
      choose((chosen + step + found.points.length) % found.points.length);
    } else if (event.key === "Enter") openAt(found.points[chosen]);
  });
  const watcher = new ResizeObserver(draw);
  watcher.observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw, { signal });
  signal.addEventListener("abort", () => watcher.disconnect());
  draw();
  tell(`${plural(found.points.length, "passage")} of ${found.total.toLocaleString("en")}; the two directions show `
    + `${Math.round(100 * found.share)}% of what tells them apart`);
}

function colours() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? DARK : LIGHT;
}

/** Where a point of the map lies on the canvas, in its own pixels. */
function placed(canvas, [x, y]) {
  const edge = 18;
  const across = (canvas.clientWidth - 2 * edge) / 2;
  const down = (canvas.clientHeight - 2 * edge) / 2;
  const held = (value) => Math.max(-1.04, Math.min(1.04, value));
  return [edge + across * (1 + held(x)), edge + down * (1 - held(y))];
}

function paint(canvas, found, lit, chosen) {
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const ink = style.color;
  const size = found.points.length > 600 ? 2.4 : 4;
  const dot = (at, radius, fill, ring) => {
    const [x, y] = placed(canvas, at);
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fillStyle = fill;
    pen.fill();
    if (ring) {
      pen.lineWidth = 2;
      pen.strokeStyle = ring;
      pen.stroke();
    }
  };
  pen.globalAlpha = lit.size || found.query ? 0.45 : 0.8;
  for (const point of found.points) dot(point.at, size, colours()[point.folder % LIGHT.length]);
  pen.globalAlpha = 1;
  const folders = new Map(found.points.map((point) => [point.passage, point.folder]));
  for (const [passage, at] of lit) dot(at, 6, folders.has(passage) ? colours()[folders.get(passage)] : ink, ink);
  if (found.query) star(pen, placed(canvas, found.query), ink, style.backgroundColor);
  if (chosen >= 0) dot(found.points[chosen].at, size + 4, "transparent", ink);
}

function star(pen, [x, y], ink, back) {
  pen.beginPath();
  for (let i = 0; i < 10; i += 1) {
    const radius = i % 2 ? 4.5 : 11;
    const turn = (Math.PI * i) / 5 - Math.PI / 2;
    pen.lineTo(x + radius * Math.cos(turn), y + radius * Math.sin(turn));
  }
  pen.closePath();
  pen.fillStyle = ink;
  pen.fill();
  pen.lineWidth = 1.5;
  pen.strokeStyle = back;
  pen.stroke();
}

/** The number of the point under the pointer; -1: none. */
function nearest(canvas, found, event) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let best = -1;
  let least = NEAR;
  found.points.forEach((point, at) => {
    const [px, py] = placed(canvas, point.at);
    const away = Math.hypot(px - x, py - y);
    if (away < least) [best, least] = [at, away];
  });
  return best;
}

function counts(found) {
  const numbers = found.folders.map(() => 0);
  for (const point of found.points) numbers[point.folder] += 1;
  return numbers;
}

function folderName(name) {
  return name === "." ? "the top folder" : name;
}

function legend(found, hits) {
  const items = found.folders.map((name, at) => {
    const dot = el("span", { class: "dot" });
    dot.style.setProperty("--colour", colours()[at % LIGHT.length]);
    return el("li", {}, dot, folderName(name));
  });
  if (found.query) items.push(el("li", {}, "★ your question"));
  if (hits.length) items.push(el("li", {}, "◉ its hits"));
  return el("ul", { class: "legend", "aria-label": "Colours" }, ...items);
}

function described(found, hits) {
  const shares = counts(found).map((number, at) => `${number} in ${folderName(found.folders[at])}`).join(", ");
  const asked = found.query ? ` Your question and ${plural(hits.length, "hit")} are lit.` : "";
  return `Map of ${plural(found.points.length, "passage")}: ${shares}.${asked} The table below says the same.`;
}

/** The same in words: passages of each folder, how many of the hits lie there, and a way to search there. */
function table(found, hits) {
  const folder = new Map(found.points.map((point) => [point.passage, point.folder]));
  const numbers = counts(found);
  const rows = found.folders.map((name, at) => el("tr", {},
    el("th", { scope: "row" }, folderName(name)),
    el("td", {}, plural(numbers[at], "passage")),
    el("td", {}, hits.length ? plural(hits.filter((hit) => folder.get(hit.passage) === at).length, "hit") : "–"),
    el("td", {}, example(found, at))));
  return el("details", {}, el("summary", {}, "The map as a table"), el("div", { class: "table" },
    el("table", { class: "stacked" },
      el("thead", {}, el("tr", {}, ...["Folder", "Passages shown", "Hits", "Such as"].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, ...rows))));
}

function example(found, at) {
  const point = found.points.find((each) => each.folder === at);
  return point ? `${parts(point.path).name}: ${point.text}` : "";
}

