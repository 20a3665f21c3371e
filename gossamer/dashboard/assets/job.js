// One job: the bar, the tiles, the cohort, where the bytes go, what the job is.

import { byId, bytes, clock, count, counted, element, figure, fill, span, text, times } from "./format.js";

const KIND = { open: "good", paused: "warn", finished: "accent" };
const MANY = 60;

export function showJob(job, fleet, rounds) {
  const sealed = rounds.round.length;
  byId("state").dataset.kind = KIND[job.state] ?? "wait";
  text("state", job.state);
  byId("progress").max = job.rounds;
  byId("progress").value = sealed;
  text("round", job.state === "finished" ? `${counted(sealed, "round")} done` : `${count(sealed)} of ${count(job.rounds)} rounds`);
  tiles(job, fleet, rounds);
  cohort(job);
  where(job);
  settings(job);
}

export function showNoJob() {
  text("state", "no job");
  text("round", "");
  fill("tiles", tile("Job", "none yet", "gossamer job create FILE"));
  for (const id of ["turns", "members", "legend", "settings"]) byId(id).replaceChildren();
  byId("bytes").tBodies[0].replaceChildren();
}

function tile(label, value, under, kind = "") {
  return element("li", {}, element("span", { className: "label" }, label),
    element("span", { className: `value ${kind}` }, value), element("span", { className: "under" }, under));
}

function tiles(job, fleet, rounds) {
  const n = rounds.loss.length;
  const rejected = Object.values(job.updates.rejected).reduce((a, b) => a + b, 0);
  const refused = Object.values(fleet.refused).reduce((a, b) => a + b, 0);
  const used = job.updates.on_time + job.updates.late;
  const shown = [
    tile("Loss", n ? figure(rounds.loss[n - 1]) : "–", n ? `${figure(rounds.loss[0])} at first` : "after the first round"),
    tile("Updates counted", count(used), job.updates.late ? `${count(job.updates.late)} of them late` : "all in time"),
    tile("Bytes, both ways", job.bytes.both.bytes ? bytes(job.bytes.both.bytes) : "–",
      job.bytes.both.factor ? `${times(job.bytes.both.factor)} less than fp32` : "bodies and steps", "accent"),
    tile("Devices online", `${count(fleet.devices.online)} of ${count(fleet.devices.online + fleet.devices.offline)}`,
      fleet.devices.revoked ? `${count(fleet.devices.revoked)} revoked` : "enrolled"),
    tile("Rejected", count(rejected + refused), `${counted(refused, "message")}, ${counted(rejected, "update")}`, rejected + refused ? "bad" : ""),
  ];
  if (job.privacy) shown.push(privacy(job.privacy));
  fill("tiles", ...shown);
}

function privacy(told) {
  if (told.unknown) return tile("Privacy", "?", told.unknown);
  return tile("Privacy spent", `ε ${figure(told.epsilon_spent)}`,
    `of ${figure(told.epsilon_budget)} at δ ${told.delta}`, told.may_release ? "" : "bad");
}

function cohort(job) {
  const found = job.cohort;
  if (!found) {
    text("cycle", "");
    fill("turns");
    fill("members");
    fill("legend");
    text("cohort-note", job.state === "finished" ? "The job is finished; nobody is called." : "The first round has not begun.");
    return;
  }
  text("cycle", `round ${job.round}, turn ${job.cycle.turn} of ${job.cycle.cohorts} in cycle ${job.cycle.cycle}`);
  turns(job.cycle, (found.standing.arrived ?? 0) / Math.max(1, found.size));
  const many = found.size > MANY;
  byId("members").className = many ? "members many" : "members";
  fill("members", ...found.members.map((each) => {
    const said = [each.device, each.standing, each.reason, each.detail].filter(Boolean).join(", ");
    return element("li", { "data-standing": each.standing, title: said, "aria-label": said }, many ? "" : each.device);
  }));
  const order = ["arrived", "waiting", "absent", "offline", "revoked"];
  fill("legend", ...order.filter((each) => found.standing[each]).map((each) => {
    const why = each === "absent" ? Object.entries(found.reasons).map(([r, n]) => `${r} ${n}`).join(", ") : "";
    return element("li", { "data-standing": each }, `${count(found.standing[each])} ${each}${why ? ` (${why})` : ""}`);
  }));
  const left = found.size - found.members.length;
  const due = job.state === "paused" ? "The job is paused: what arrives is counted, nothing is sealed."
    : `Open since ${clock(job.since)}; the deadline is ${span(job.deadline_seconds)} after that.`;
  text("cohort-note", left ? `${due} ${count(left)} more devices are not drawn.` : due);
}

function turns({ turn, cohorts }, share) {
  if (cohorts > 120) { fill("turns"); return; }
  const made = Array.from({ length: cohorts }, (_, i) => {
    const name = i + 1 < turn ? "done" : i + 1 === turn ? "now" : "";
    const said = `turn ${i + 1}: ${name === "done" ? "sealed" : name === "now" ? "open" : "to come"}`;
    const each = element("li", { className: name, title: said, "aria-label": said });
    if (name === "now") each.style.setProperty("--share", `${Math.round(100 * share)}%`);
    return each;
  });
  fill("turns", ...made);
}

function where(job) {
  const told = job.bytes;
  const row = (name, each) => element("tr", {}, element("th", { scope: "row" }, name), element("td", { className: "n" }, bytes(each.bytes)),
    element("td", { className: "n" }, bytes(each.fp32_bytes)),
    element("td", { className: "n" }, each.factor ? element("strong", {}, times(each.factor)) : "–"));
  byId("bytes").tBodies[0].replaceChildren(row("update bodies, up", told.up), row("model steps, down", told.down), row("both ways", told.both));
  const ledgers = told.devices;
  fill("ledgers", ...(ledgers.telling ? [element("h3", {}, `Measured by the devices, ${ledgers.month}`),
    element("p", {}, `${bytes(ledgers.spent_bytes)} of IP traffic in all, told by ${counted(ledgers.telling, "device")}`
      + (ledgers.budget_bytes ? `; ${bytes(ledgers.spent_of_budget_bytes)} of ${bytes(ledgers.budget_bytes)} budgeted` : "")
      + (ledgers.spent_up ? `; ${counted(ledgers.spent_up, "budget")} spent` : ""))] : []));
  causes(told.server);
}

function causes(server) {
  if (!server) { fill("causes"); return; }
  const both = {};
  for (const way of ["up", "down"]) for (const [cause, n] of Object.entries(server[way])) both[cause] = (both[cause] ?? 0) + n;
  const all = Object.values(both).reduce((a, b) => a + b, 0);
  const rows = Object.entries(both).sort((a, b) => b[1] - a[1]).map(([cause, n]) => element("div", { className: "cause" },
    element("span", {}, cause), element("progress", { max: String(all), value: String(n), "aria-label": `${cause}, share of all bytes` }),
    element("span", { className: "n" }, bytes(n))));
  fill("causes", element("h3", {}, `Measured on the server's link to the broker since it started: ${bytes(all)} of IP traffic`), ...rows);
}

function settings(job) {
  const facts = {
    model: `${count(job.parameters)} parameters, version ${count(job.model_version)}`,
    method: job.method, rule: job.rule, "the rule bears": job.tolerates, "codec, up": job.codec_up, "codec, down": job.codec_down,
    memory: job.memory, "server step": job.server_step, participation: `${job.participation}, ${job.cycle?.cohorts ?? "?"} cohorts`,
    "local epochs": String(job.local_epochs), "rounds that fell short": count(job.updates.rounds_short),
  };
  if (!job.cycle) facts.participation = job.participation;
  fill("settings", ...Object.entries(facts).map(([key, value]) => element("div", {}, element("dt", {}, key), element("dd", {}, value))));
}
