// The two charts, by uPlot. Colours come from the style sheet, so that they follow light and dark.

import { byId, bytes, count, figure } from "./format.js";

const uPlot = window.uPlot;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const drawn = new Map();
const HEIGHT = 230;

function axes(x, y) {
  const common = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 },
    font: "12px system-ui, sans-serif" };
  return [{ ...common, ...x }, { ...common, size: 62, ...y }];
}

function put(id, options, data, label) {
  const place = byId(id);
  place.setAttribute("aria-label", label);
  const held = drawn.get(id);
  const width = place.clientWidth;
  const key = JSON.stringify([options.key, width > 0, matchMedia("(prefers-color-scheme: dark)").matches]);
  if (held && held.key === key) { held.plot.setData(data); rest(held.plot); return; }
  held?.plot.destroy();
  place.replaceChildren();
  const plot = new uPlot({ width, height: HEIGHT, cursor: { y: false }, legend: { live: true },
    hooks: { setCursor: [(u) => { if (u.cursor.idx == null) rest(u); }] }, ...options }, data, place);
  rest(plot);
  place.querySelector(".u-legend")?.setAttribute("role", "presentation"); // the picture's name says it
  drawn.set(id, { key, plot });
}

// Without a pointer the legend tells the last values.
const rest = (plot) => plot.setLegend({ idx: plot.data[0].length - 1 });

function empty(id, words) {
  drawn.get(id)?.plot.destroy();
  drawn.delete(id);
  const place = byId(id);
  place.replaceChildren(Object.assign(document.createElement("p"), { className: "empty", textContent: words }));
  place.setAttribute("aria-label", words);
}

// A line of one point is none: show it as a dot.
const points = (n) => ({ show: n < 40, size: 5 });

export function draw(rounds, parameters, devices, byBytes) {
  const n = rounds.round.length;
  if (n === 0) {
    empty("loss", "no round is sealed yet");
    empty("spent", "no round is sealed yet");
    return;
  }
  let up = 0; let down = 0; let sent = 0;
  const ours = []; const fp32 = [];
  for (let i = 0; i < n; i += 1) {
    up += rounds.body_bytes[i];
    down += rounds.step_bytes[i] * devices;
    sent += (rounds.on_time[i] + rounds.late[i]) * parameters * 4 * 2;
    ours.push(up + down);
    fp32.push(sent);
  }
  const accent = colour("--accent");
  const first = rounds.loss[0]; const last = rounds.loss[n - 1];
  const x = byBytes ? ours : rounds.round;
  put("loss", {
    key: `loss ${byBytes} ${n < 40}`,
    scales: { x: { time: false } },
    axes: axes({ values: (_, marks) => marks.map((v) => (byBytes ? bytes(v) : Number.isInteger(v) ? count(v) : "")), space: 70 },
      { values: (_, marks) => marks.map(figure) }),
    series: [{ label: byBytes ? "bytes" : "round", value: (_, v) => (byBytes ? bytes(v) : count(v)) },
      { label: "loss", stroke: accent, width: 2, points: points(n), value: (_, v) => figure(v) }],
  }, [x, rounds.loss], `Loss over ${byBytes ? "bytes" : "rounds"}: from ${figure(first)} to ${figure(last)} after ${n} rounds`);
  const log = { time: false, distr: 3, log: 10 };
  put("spent", {
    key: `spent ${n < 40}`,
    scales: { x: { time: false }, y: log },
    axes: axes({ values: (_, marks) => marks.map((v) => (Number.isInteger(v) ? count(v) : "")), space: 70 },
      { values: (_, marks) => marks.map((v) => (v == null ? "" : bytes(v))) }),
    series: [{ label: "round", value: (_, v) => count(v) },
      { label: "this job", stroke: accent, width: 2, points: points(n), value: (_, v) => bytes(v) },
      { label: "at fp32", stroke: colour("--fp32"), width: 2, dash: [6, 4], points: { show: false }, value: (_, v) => bytes(v) }],
  }, [rounds.round, ours.map((v) => v || null), fp32.map((v) => v || null)],
    `Bytes after ${n} rounds: ${bytes(ours[n - 1])}, at fp32 ${bytes(fp32[n - 1])}`);
}

export function fit() {
  for (const [id, { plot }] of drawn) {
    const width = byId(id).clientWidth;
    if (width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
  }
}
