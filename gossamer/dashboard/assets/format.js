// Numbers, times and elements. Text from the server only ever becomes text, never markup.

export function bytes(n) {
  if (n == null) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let value = n;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ${units[unit]}`;
}

export const count = (n) => (n == null ? "" : n.toLocaleString("en-GB"));
export const figure = (x) => (x == null ? "" : Math.abs(x) >= 1000 ? count(Math.round(x)) : Number(x.toPrecision(3)).toString());
export const counted = (n, thing) => `${count(n)} ${thing}${n === 1 ? "" : "s"}`;
export const times = (x) => (x == null ? "" : `${x >= 10 ? Math.round(x) : x.toFixed(1)}×`);

export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

export function ago(seconds, now) {
  if (!seconds) return "never";
  const past = Math.max(0, now - seconds);
  if (past < 5) return "now";
  if (past < 90) return `${Math.round(past)} s ago`;
  if (past < 5400) return `${Math.round(past / 60)} min ago`;
  if (past < 129600) return `${Math.round(past / 3600)} h ago`;
  return `${Math.round(past / 86400)} days ago`;
}

export function span(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (key === "onclick") made.addEventListener("click", value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key === "className" ? "class" : key, value === true ? "" : value);
  }
  made.append(...children.filter((each) => each != null));
  return made;
}

export const byId = (id) => document.getElementById(id);

// Only what differs is touched: a reader's place, a selection and the focus stay.
export function text(id, value) {
  const found = typeof id === "string" ? byId(id) : id;
  if (found.textContent !== value) found.textContent = value;
}

export function fill(id, ...children) {
  const found = byId(id);
  const made = document.createElement(found.nodeName);
  made.append(...children);
  if (made.innerHTML !== found.innerHTML || made.querySelector("button")) found.replaceChildren(...made.childNodes);
}
