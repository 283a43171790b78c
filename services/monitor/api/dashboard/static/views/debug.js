// Where it drifts: features by window, both histograms, each version's performance, and slices.

import { ask } from "../api.js";
import { openDialog } from "../dialog.js";
import { counted, el, notice, shortName, state, table, words } from "../dom.js";
import { drawHistograms } from "./histograms.js";
import { drawRollout, drawSlices } from "./slices.js";
import { drawJobs } from "./training.js";
import { drawWindow } from "./window.js";

export const parts = [
  { title: "Drift by feature and window", path: "debug", ofMonitor: true, draw },
  { title: "Slices by window", path: "slices", ofMonitor: true, draw: drawSlices },
  {
    title: "Slices in the newest rollout",
    path: "rollout-slices",
    ofMonitor: true,
    draw: drawRollout,
  },
  { title: "Training jobs", path: "jobs", ofMonitor: true, draw: drawJobs },
];

const LEVELS = [0.25, 0.75, 1, 2]; // times what would count

function draw(found) {
  return [
    ...drawHeat(found),
    ...drawWindows(found.windows),
    ...drawWindow(found.windows),
    ...drawVersions(found.versions),
  ];
}

function drawHeat({ windows, rows, features_left_out: leftOut }) {
  const heading = el("h2", {}, "Drift by feature and window");
  if (!windows.length) return [heading, notice("No window has been judged yet.")];
  const head = windows.map((window) => el("th", { scope: "col" }, window.window_start.slice(2, 10)));
  const body = rows.map((row) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", title: row.feature }, row.feature),
      row.cells.map((cell, i) => el("td", {}, cell ? drawCell(row.feature, windows[i], cell) : null)),
    ),
  );
  const more = leftOut ? ` ${counted(leftOut, "feature")} that went less far left out.` : "";
  return [
    heading,
    el(
      "p",
      { class: "faint" },
      "Newest first. Each number is the effect in units of what would count; a frame marks an alarm. " +
        `Choose one to see both histograms.${more}`,
    ),
    el(
      "div",
      { class: "scroll", role: "region", "aria-label": "Drift by feature and window", tabindex: 0 },
      el(
        "table",
        { class: "heat" },
        el("thead", {}, el("tr", {}, el("td"), head)),
        el("tbody", {}, body),
      ),
    ),
  ];
}

function drawCell(feature, window, cell) {
  const level = LEVELS.filter((bound) => cell.excess >= bound).length;
  const verdict = cell.skewed
    ? "serving skew"
    : cell.drifted
      ? "drifted"
      : cell.significant
        ? "in this window alone"
        : "no alarm";
  const times = cell.excess.toFixed(1);
  return el(
    "button",
    {
      type: "button",
      class: `level-${level}${cell.drifted || cell.skewed ? " drifted" : ""}`,
      "data-key": `${window.name} ${feature}`,
      "aria-haspopup": "dialog",
      "aria-label": `${feature}, window of ${window.window_start.slice(0, 10)}: ${times} times what would count, ${verdict}`,
      click: () => open(feature, window),
    },
    times,
  );
}

function open(feature, window) {
  const title = `${feature}, ${window.window_start.slice(0, 10)} to ${window.window_end.slice(0, 10)}`;
  openDialog(title, async () => {
    const { points } = await ask("histograms", { report: window.name, feature });
    return points.flatMap(drawPoint);
  });
}

function drawPoint(point) {
  return [
    el("h3", {}, words(point.algorithm)),
    point.reason ? el("p", {}, point.reason) : null,
    el(
      "p",
      {},
      `effect ${point.effect_size.toFixed(3)}, counts from ${point.threshold.toFixed(3)} on; q `,
      point.q_value.toPrecision(2),
    ),
    ...(point.bins.length
      ? drawHistograms(point)
      : [el("p", { class: "faint" }, "This detector looks at whole rows: it has no histogram.")]),
  ];
}

function drawWindows(windows) {
  const told = windows.filter((window) => window.severity !== "NONE");
  const heading = el("h2", {}, "Windows with an alarm");
  if (!told.length) return [heading, notice("None of these windows has an alarm.")];
  const columns = [
    ["window", (window) => window.window_start.slice(0, 10)],
    ["change", (window) => state(window.change)],
    ["who looks", (window) => words(window.severity)],
    ["why", (window) => window.reason, "words"],
  ];
  return [heading, table("Windows with an alarm", columns, told)];
}

function drawVersions(reports) {
  const heading = el("h2", {}, "Performance by version");
  if (!reports.length) return [heading, notice("No version has been judged yet.")];
  const metrics = [...new Set(reports.flatMap((report) => Object.keys(report.metrics)))].sort();
  const columns = [
    ["window", (report) => report.window_start.slice(0, 10)],
    ["version", (report) => shortName(report.version)],
    ["predictions", (report) => String(report.predictions), "number"],
    ["outcomes", (report) => String(report.outcomes), "number"],
    ...metrics.map((name) => [
      words(name),
      (report) => report.metrics[name]?.toFixed(4) ?? "–",
      "number",
    ]),
  ];
  return [heading, table("Performance by version", columns, reports)];
}
