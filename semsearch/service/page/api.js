// The server's routes. Where it has a token, the person is asked for it once; it lasts as long as the tab.

import { find } from "./dom.js";

const KEY = "semsearch-token";
const PATIENCE = 3;

export class Refused extends Error {
  constructor(status, kind, message) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

/** Ask a route; return its JSON. Waits where the server is busy, and asks for the token where it wants one. */
export async function ask(path, { method = "GET", body, query = {}, signal } = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const address = given.length ? `${path}?${new URLSearchParams(given)}` : path;
  for (let attempt = 0; ; attempt += 1) {
    const headers = { accept: "application/json" };
    const token = sessionStorage.getItem(KEY);
    if (token) headers.authorization = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const reply = await fetch(address, { method, headers, signal, body: body && JSON.stringify(body) });
    if (reply.ok) return reply.json();
    if (reply.status === 401) {
      await askToken();
      continue;
    }
    if (reply.status === 429 && attempt < PATIENCE) {
      const seconds = Number(reply.headers.get("retry-after")) || 1;
      await new Promise((done) => setTimeout(done, 1000 * Math.min(seconds, 10)));
      continue;
    }
    const said = await reply.json().catch(() => null);
    throw new Refused(reply.status, said?.error?.kind ?? "", said?.error?.message ?? `the server answers ${reply.status}`);
  }
}

let asking = null;

/** Ask the person for the token; several requests at once ask once. */
function askToken() {
  asking ??= new Promise((done) => {
    const dialog = find("#token");
    const field = find("#token-value");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, field.value.trim());
      field.value = "";
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}
