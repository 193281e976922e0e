// What is shown is what the address bar says: a link is an answer, and back and forward work.

const NAMES = ["view", "q", "like", "collection", "mode", "type", "path", "since", "until", "sure", "open", "lines"];

/** Return the state that the address says; every name is there, empty where it says nothing. */
export function read() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, given.get(name) ?? ""]));
}

export function link(state) {
  const given = NAMES.filter((name) => state[name]).map((name) => [name, state[name]]);
  return given.length ? `/?${new URLSearchParams(given)}` : "/";
}

/** Go to a state: a new entry of the history where it differs from the present one. */
export function go(state) {
  const address = link(state);
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  dispatchEvent(new Event("semsearch:go"));
}

/** The filter expressions of a state, as the command line writes them. */
export function filters(state) {
  return ["type", "path", "since", "until"].filter((name) => state[name]).map((name) => `${name}=${state[name]}`);
}
