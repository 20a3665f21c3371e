// Devices, rejections, rounds.

import { ago, byId, bytes, clock, count, counted, element, figure, fill, text } from "./format.js";

const ROUNDS_SHOWN = 8;
const LISTED = 12;
const OLD_SECONDS = 3600; // what a device has told of its bytes so long ago may be far from what is true

export function showDevices(told, now, revoke) {
  const { counts } = told;
  const table = byId("devices").classList;
  table.toggle("no-budget", !told.devices.some((each) => each.month));
  table.toggle("no-why", !told.devices.some((each) => each.reason || !each.enrolled));
  table.toggle("no-action", !revoke);
  text("found", told.found === counts.devices ? `${count(counts.devices)}` : `${count(told.found)} of ${count(counts.devices)}`);
  text("page", `page ${count(told.page)} of ${count(told.pages)}`);
  byId("previous").disabled = told.page <= 1;
  byId("next").disabled = told.page >= told.pages;
  const body = byId("devices").tBodies[0];
  const rows = told.devices.map((each) => deviceRow(each, now, revoke));
  if (rows.length === 0) {
    const words = counts.devices ? "no device is like that" : "no devices yet: gossamer fleet enroll DEVICE";
    rows.push(element("tr", { role: "row" }, element("td", { role: "cell", className: "muted", colspan: "7" }, words)));
  }
  const focused = document.activeElement?.dataset?.device;
  body.replaceChildren(...rows);
  if (focused) body.querySelector(`button[data-device="${CSS.escape(focused)}"]`)?.focus();
}

const cell = (label, className, ...children) =>
  element("td", { role: "cell", "data-label": label, className: children.length === 0 || children[0] === "" ? `${className} nothing` : className }, ...children);

// On a phone, where there are no headings, a cell says itself what it holds, and one that holds nothing new is not there.
function phone(words, made, zero = false) {
  made.dataset.phone = words;
  if (zero) made.dataset.zero = "";
  return made;
}

function deviceRow(each, now, revoke) {
  const lag = each.lag == null ? "" : each.lag === 0 ? `${count(each.model_version)}` : `${count(each.model_version)} (${count(each.lag)} behind)`;
  const contact = each.online ? `online, heard ${ago(each.last_contact, now)}` : ago(each.last_contact, now);
  const action = revoke && each.enrolled
    ? element("button", { type: "button", className: "small danger", "data-device": each.device, "aria-label": `Revoke ${each.device}`, onclick: () => revoke(each.device) }, "Revoke")
    : "";
  return element("tr", { role: "row" }, cell("device", "", each.device),
    cell("this round", "", element("span", { className: "chip", "data-standing": each.standing }, each.standing)),
    cell("last contact", "", contact), phone("model", cell("model", "n", lag)), cell("budget of the month", "", ...budget(each, now)),
    cell("why not", "why", ...why(each)), cell("", "n", action));
}

function budget(each, now) {
  if (!each.month) return [];
  const told = `told ${ago(each.account_at, now)}`;
  const old = now - each.account_at > OLD_SECONDS ? element("span", { className: "muted" }, told) : null;
  if (!each.budget_bytes) return [element("div", { className: "budget", title: told }, element("span", {}, bytes(each.spent_bytes)), old)];
  const over = each.spent_bytes >= each.budget_bytes;
  const words = `${bytes(each.spent_bytes)} of ${bytes(each.budget_bytes)}`;
  return [element("div", { className: "budget", title: told }, element("span", {}, words),
    element("progress", { max: String(each.budget_bytes), value: String(Math.min(each.spent_bytes, each.budget_bytes)), className: over ? "over" : "", "aria-label": `spent ${words}` }), old)];
}

function why(each) {
  if (!each.enrolled) return ["revoked"];
  if (!each.reason) return [];
  const earlier = each.standing === "absent" ? "" : "earlier: ";
  return [element("span", {}, earlier, element("b", {}, each.reason), each.detail ? ` – ${each.detail}` : "")];
}

export function showCounts(counts, chosen, choose) {
  const made = [["", "", "all", counts.devices], ["state", "online", "online", counts.online], ["state", "offline", "offline", counts.offline],
    ["state", "revoked", "revoked", counts.revoked], ["standing", "absent", "absent", counts.standing.absent ?? 0]]
    .concat(Object.entries(counts.reasons).map(([reason, n]) => ["reason", reason, reason, n]));
  const nothing = !chosen.state && !chosen.reason && !chosen.standing;
  const place = byId("counts");
  const focused = document.activeElement?.dataset?.count;
  place.replaceChildren(...made.filter(([key, , , n]) => n || key === "").map(([key, value, label, n]) => element("li", {},
    element("button", { type: "button", "data-count": `${key}${value}`, "aria-pressed": String(key ? chosen[key] === value : nothing),
      onclick: () => choose(key, value) }, `${label} ${count(n)}`))));
  if (focused != null) place.querySelector(`button[data-count="${CSS.escape(focused)}"]`)?.focus();
  const select = byId("by-reason");
  const wanted = ["", ...Object.keys(counts.reasons).sort()];
  if (chosen.reason && !wanted.includes(chosen.reason)) wanted.push(chosen.reason);
  if (wanted.join() !== [...select.options].map((each) => each.value).join()) {
    select.replaceChildren(...wanted.map((each) => element("option", { value: each }, each || "all")));
    select.value = chosen.reason;
  }
}

export function showRejections(told, jobs) {
  const refused = Object.values(told.refused).reduce((a, b) => a + b, 0);
  text("rejected", refused ? counted(refused, "message") : "");
  const none = element("li", { className: "none" }, "none");
  fill("messages", ...(told.messages.length ? told.messages.slice(0, LISTED).map((each) => element("li", {},
    element("b", {}, each.reason), ` ${count(each.count)}×, last from ${each.device || "an unknown sender"} at ${when(each.at)}`,
    each.detail ? element("span", { className: "muted" }, each.detail) : null)) : [none]));
  const names = new Map(jobs.map((each) => [each.job, each.name]));
  const several = jobs.length > 1;
  fill("updates", ...(told.updates.length ? told.updates.slice(0, LISTED).map((each) => element("li", {},
    element("b", {}, each.reason), ` ${each.device}, round ${count(each.round)}${several ? ` of ${names.get(each.job) ?? each.job}` : ""}, ${when(each.at)}`))
    : [none.cloneNode(true)]));
}

function when(seconds) {
  const day = new Date(seconds * 1000);
  return day.toDateString() === new Date().toDateString() ? clock(seconds) : day.toLocaleString("en-GB");
}

export function showRounds(rounds) {
  const rows = [];
  const n = rounds.round.length;
  for (let i = n - 1; i >= Math.max(0, n - ROUNDS_SHOWN); i -= 1) {
    rows.push(element("tr", { role: "row" }, phone("round", cell("round", "n", count(rounds.round[i]))),
      phone("sealed", cell("sealed", "", when(rounds.at[i]))),
      phone("in time", cell("in time", "n", `${count(rounds.on_time[i])} of ${count(rounds.cohort[i])}`)),
      phone("late", cell("late", "n", count(rounds.late[i])), rounds.late[i] === 0),
      phone("rejected", cell("rejected", "n", count(rounds.rejected[i])), rounds.rejected[i] === 0),
      phone("up", cell("bytes up", "n", bytes(rounds.body_bytes[i]))), phone("loss", cell("loss", "n", figure(rounds.loss[i])))));
  }
  if (n === 0) rows.push(element("tr", { role: "row" }, element("td", { role: "cell", colspan: "7", className: "muted" }, "no round is sealed yet")));
  byId("rounds").tBodies[0].replaceChildren(...rows);
}
