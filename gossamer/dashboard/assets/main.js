// The page: what to fetch when something has changed, and which job and devices are looked at.

import { draw, fit } from "./charts.js";
import { byId, clock, counted, element, figure, text } from "./format.js";
import { showJob, showNoJob } from "./job.js";
import { session } from "./session.js";
import { follow } from "./stream.js";
import { showCounts, showDevices, showRejections, showRounds } from "./tables.js";

const PAUSE = 600; // milliseconds between two fetches at least
const NO_ROUNDS = () => ({ round: [], at: [], loss: [], on_time: [], late: [], rejected: [], short: [], body_bytes: [], step_bytes: [], cohort: [] });
const ALL = ["jobs", "devices", "rejections"];

const seen = { job: null, fleet: null, told: null, rounds: NO_ROUNDS(), devices: null, byBytes: false, revisions: {}, offset: 0 };
const asked = { text: "", state: "", standing: "", reason: "", order: "index", page: 1 };
const wanted = new Set();
let busy = false;
let notice = "";
let lostAt = 0;
let problem = "";

const rights = session((words) => { notice = words ?? ""; banner(); refresh(ALL); });

async function get(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (answer.status === 401) { await rights.look(); rights.ask(); throw new Error("sign in to look at this page"); }
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? `the server answered ${answer.status}`);
  return told;
}

function refresh(parts) {
  for (const part of parts) wanted.add(part);
  if (!busy) { busy = true; work(); }
}

async function work() {
  while (wanted.size) {
    const parts = new Set(wanted);
    wanted.clear();
    try {
      await bring(parts);
      problem = "";
    } catch (error) {
      if (!lostAt) problem = error.message;
    }
    banner();
    await new Promise((done) => setTimeout(done, PAUSE));
  }
  busy = false;
}

async function bring(parts) {
  seen.fleet = await get("/api/fleet.json");
  seen.offset = seen.fleet.now - Date.now() / 1000;
  showFleet();
  if (seen.job != null) {
    if (parts.has("jobs") || parts.has("devices")) await bringJob();
  } else showNoJob();
  if (parts.has("jobs") || parts.has("devices")) await bringDevices();
  if (parts.has("jobs") || parts.has("rejections")) showRejections(await get("/api/rejections.json"), seen.fleet.jobs);
  showAll();
}

async function bringJob() {
  const number = seen.job;
  const { rounds } = seen;
  const after = rounds.round.length ? rounds.round.at(-1) : -1;
  const [told, fresh] = [await get(`/api/jobs/${number}.json`), await get(`/api/jobs/${number}/rounds.json?after=${after}`)];
  if (rounds !== seen.rounds) return; // another job, or another server, meanwhile
  seen.told = told;
  for (const key of Object.keys(rounds)) rounds[key].push(...fresh[key]);
  if (fresh.round.length && after >= 0) {
    text("news", `Round ${fresh.round.at(-1)} is sealed: loss ${figure(fresh.loss.at(-1))}, ${counted(fresh.rejected.at(-1), "update")} rejected.`);
  }
}

async function bringDevices() {
  const size = matchMedia("(max-width: 46rem)").matches ? 15 : 50;
  const query = new URLSearchParams(Object.entries({ ...asked, size }).filter(([, value]) => value !== ""));
  seen.devices = await get(`/api/devices.json?${query}`);
  asked.page = seen.devices.page;
}

function showFleet() {
  const { fleet } = seen;
  text("fleet", fleet.fleet);
  document.title = `${fleet.fleet} – Gossamer`;
  text("version", `Gossamer ${fleet.version}`);
  const select = byId("job");
  const names = fleet.jobs.map((each) => `${each.job}:${each.name}`).join();
  if (select.dataset.names !== names) {
    select.dataset.names = names;
    select.replaceChildren(...fleet.jobs.map((each) => element("option", { value: String(each.job) }, each.name)));
  }
  select.hidden = fleet.jobs.length === 0;
  if (!fleet.jobs.some((each) => each.job === seen.job)) seen.job = fleet.job;
  if (seen.job != null) select.value = String(seen.job);
}

function showAll() {
  if (!seen.fleet) return;
  if (seen.told && seen.job != null) {
    showJob(seen.told, seen.fleet, seen.rounds);
    showRounds(seen.rounds);
    draw(seen.rounds, seen.told.parameters, seen.told.devices, seen.byBytes);
  }
  if (seen.devices) {
    showCounts(seen.devices.counts, asked, choose);
    showDevices(seen.devices, Date.now() / 1000 + seen.offset, rights.rights.signed_in ? rights.revoke : null);
  }
  const button = byId("pause");
  button.hidden = !rights.rights.signed_in || !seen.told || seen.told.state === "finished";
  text(button, seen.told?.state === "paused" ? "Resume" : "Pause");
}

function banner() {
  const words = [lostAt ? `No contact with the server since ${clock(lostAt)}. The figures are those of then; trying again.` : "", problem, notice];
  const said = words.filter(Boolean).join(" ");
  text("banner", said);
  byId("banner").hidden = !said;
  document.body.classList.toggle("stale", Boolean(lostAt));
  byId("live").dataset.kind = lostAt ? "bad" : problem ? "warn" : "good";
  text("live", lostAt ? `stale since ${clock(lostAt)}` : problem ? "trouble" : "live");
}

function choose(key, value) {
  Object.assign(asked, { state: "", standing: "", reason: "", page: 1 });
  if (key) asked[key] = value;
  for (const each of ["state", "standing", "reason"]) byId(`by-${each}`).value = asked[each];
  refresh(["devices"]);
}

function listen() {
  byId("job").addEventListener("change", (event) => {
    Object.assign(seen, { job: Number(event.target.value), told: null, rounds: NO_ROUNDS() });
    refresh(["jobs"]);
  });
  for (const [id, value] of [["by-round", false], ["by-bytes", true]]) {
    byId(id).addEventListener("click", () => {
      seen.byBytes = value;
      byId("by-round").setAttribute("aria-pressed", String(!value));
      byId("by-bytes").setAttribute("aria-pressed", String(value));
      showAll();
    });
  }
  for (const key of ["state", "standing", "reason"]) {
    byId(`by-${key}`).addEventListener("change", (event) => { asked[key] = event.target.value; asked.page = 1; refresh(["devices"]); });
  }
  byId("order").addEventListener("change", (event) => { asked.order = event.target.value; asked.page = 1; refresh(["devices"]); });
  byId("text").addEventListener("input", (event) => { asked.text = event.target.value; asked.page = 1; refresh(["devices"]); });
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("previous").addEventListener("click", () => { asked.page -= 1; refresh(["devices"]); });
  byId("next").addEventListener("click", () => { asked.page += 1; refresh(["devices"]); });
  byId("pause").addEventListener("click", async () => {
    try {
      await rights.setJob(seen.job, seen.told.state === "paused" ? "resume" : "pause");
      notice = "";
    } catch (error) { notice = error.message; }
    banner();
    refresh(["jobs"]);
  });
  new ResizeObserver(fit).observe(byId("loss"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showAll);
  setInterval(showAll, 15000); // "3 min ago" grows
}

await rights.look().catch(() => null);
listen();
follow({
  changed(revisions) {
    if (revisions === null) { seen.rounds = NO_ROUNDS(); seen.revisions = {}; refresh(ALL); return; }
    const parts = ALL.filter((part) => seen.revisions[part] !== revisions[part]);
    seen.revisions = revisions;
    if (parts.length) refresh(parts);
  },
  trouble(message) { problem = message; banner(); },
  lost(since) { lostAt = since; problem = ""; banner(); },
  found() { lostAt = 0; banner(); },
});
