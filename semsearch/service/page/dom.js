// Elements are made of text and attributes alone: nothing that a file says is ever read as HTML.

/** Make an element. `on…` properties listen; false, null and undefined attributes are left out. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function find(selector) {
  return document.querySelector(selector);
}

/** Say something that screen readers read out when they come to it. */
export function tell(text) {
  find("#told").textContent = text;
}

/** Say what went wrong, at once; empty: nothing. */
export function fail(text) {
  find("#wrong").textContent = text;
}

export function plural(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** A path's last part, and what stands before it. */
export function parts(path) {
  const cut = path.lastIndexOf("/") + 1;
  return { folder: path.slice(0, cut), name: path.slice(cut) || path };
}

let roots = [];

/** Remember what was indexed: paths are shown as people know them, from the indexed folder's own name on. */
export function setRoots(found) {
  roots = found.map((root) => parts(root.replace(/\/+$/, "")).folder).filter(Boolean).sort((a, b) => b.length - a.length);
}

export function shortPath(path) {
  const root = roots.find((each) => path.startsWith(each));
  return root ? path.slice(root.length) : path;
}

/** Where a hit or a duplicate stands, in words. */
export function placeOf(hit) {
  const extracted = ["docx", "epub", "html", "odt", "pdf", "rtf"].includes(hit.kind);
  const page = hit.page === null ? "" : ` · page ${hit.page}`;
  const lines = hit.line_end === hit.line_start ? `line ${hit.line_start}` : `lines ${hit.line_start}–${hit.line_end}`;
  const record = hit.document === null ? "" : ` · record ${hit.document}`;
  return `${shortPath(hit.path)}${page || (extracted ? "" : ` · ${lines}`)}${record}`;
}

/** A figure grid of [name, value] pairs. */
export function figures(pairs) {
  return el("dl", { class: "figures" }, ...pairs.map(([name, value]) => el("div", {},
    el("dt", {}, name), el("dd", { class: typeof value === "number" ? null : "text" },
      typeof value === "number" ? value.toLocaleString("en") : value))));
}
