// From the address bar to a view, and from the form to the address bar.

import { ask } from "./api.js";
import { el, fail, find, setRoots, tell } from "./dom.js";
import * as judged from "./judged.js";
import * as map from "./map.js";
import * as reader from "./reader.js";
import * as search from "./search.js";
import { filters, go, link, read } from "./state.js";
import * as status from "./status.js";

const VIEWS = { search, map, judged, status };
const FIELDS = ["q", "collection", "mode", "type", "path", "since", "until", "sure"];
const form = find("#ask");
const dialog = find("#document");
let running = new AbortController();
let shown = null;
let known = { collections: [], default: "" };

async function start() {
  known = await ask("/v1/collections");
  if (!known.collections.length) {
    fail("There is no collection yet. Make one with: semsearch index FOLDER");
    return;
  }
  form.elements.collection.replaceChildren(...known.collections.map((each) =>
    el("option", { value: each.name === known.default ? "" : each.name, disabled: each.error !== null }, each.name)));
  await show();
}

/** Show what the address says. The view is made anew only where more than the open document has changed. */
async function show() {
  const state = read();
  const collection = state.collection || known.default;
  fill(state);
  fail("");
  const key = link({ ...state, open: "", lines: "" });
  const openDocument = (hit) => go({ ...read(), open: hit.path, lines: `${hit.line_start}-${hit.line_end}` });
  try {
    if (key !== shown) {
      running.abort();
      running = new AbortController();
      shown = key;
      const { signal } = running;
      await kinds(collection, state.type);
      await (VIEWS[state.view] ?? search).show(state, { collection, signal, openDocument });
      if (signal.aborted) return; // the address says something else by now
    }
    if (state.open) await reader.open(state.open, state.lines || "1", collection, running.signal);
    else if (dialog.open) dialog.close();
  } catch (error) {
    if (error.name === "AbortError") return;
    shown = null;
    tell("");
    find("#view").replaceChildren();
    fail(error.message);
  }
}

/** Put the state into the form, the views' links and the title. */
function fill(state) {
  for (const name of FIELDS) {
    const field = form.elements[name];
    if (field.type === "checkbox") field.checked = Boolean(state[name]);
    else field.value = state[name];
  }
  find("#filtered").textContent = filters(state).join(", ");
  const view = state.view in VIEWS ? state.view : "search";
  document.body.dataset.view = view;
  for (const each of document.querySelectorAll("nav a")) {
    each.href = link({ ...state, view: each.dataset.view === "search" ? "" : each.dataset.view, open: "", lines: "" });
    if (each.dataset.view === view) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  document.title = [state.q || state.like, view === "search" ? "" : view, "semsearch"].filter(Boolean).join(" · ");
}

let kindsOf = null;

async function kinds(collection, chosen) {
  if (kindsOf !== collection) {
    const found = await ask(`/v1/collections/${encodeURIComponent(collection)}/status`);
    kindsOf = collection;
    setRoots(found.roots);
    form.elements.type.replaceChildren(el("option", { value: "" }, "any"), ...Object.entries(found.kinds).map(([kind, number]) =>
      el("option", { value: kind }, `${kind} (${number})`)));
  }
  if (chosen && ![...form.elements.type.options].some((option) => option.value === chosen)) {
    form.elements.type.append(el("option", { value: chosen }, chosen));
  }
  form.elements.type.value = chosen;
}

/** The state that the form says, in the view that shows answers. */
function asked() {
  const before = read();
  const given = Object.fromEntries(FIELDS.map((name) => {
    const field = form.elements[name];
    return [name, field.type === "checkbox" ? (field.checked ? "1" : "") : field.value.trim()];
  }));
  return { ...given, like: given.q ? "" : before.like, view: before.view === "map" ? "map" : "" };
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  shown = null; // the same question is asked again
  go(asked());
});
form.addEventListener("change", (event) => {
  if (event.target.name === "q") return;
  const view = read().view;
  go({ ...asked(), view: event.target.name === "collection" ? view : asked().view });
});
find("#clear").addEventListener("click", () => go({ ...asked(), type: "", path: "", since: "", until: "" }));
document.addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[href]");
  if (!anchor || anchor.origin !== location.origin || anchor.hash || event.defaultPrevented) return;
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(Object.fromEntries(new URL(anchor.href).searchParams));
});
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  if (read().open) go({ ...read(), open: "", lines: "" });
});
addEventListener("semsearch:go", show);
addEventListener("popstate", show);
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, select, textarea, dialog")) {
    event.preventDefault();
    find("#q").focus();
  }
});
start().catch((error) => fail(error.message));
