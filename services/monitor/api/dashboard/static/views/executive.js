// How well it goes: quality by window and model, ends of episodes, decisions, budgets, costs.

import { lineChart, percent } from "../chart.js";
import { drawFamilies } from "./families.js";
import { drawBudgets, drawCosts } from "./standing.js";
import { el, notice, state, table, time, words } from "../dom.js";

export const parts = [
  { title: "How well it goes", path: "executive", ofMonitor: true, draw },
  { title: "Quality by model family", path: "families", ofMonitor: true, draw: drawFamilies },
  { title: "Error budgets", path: "budgets", ofMonitor: true, draw: drawBudgets },
  { title: "What training costs", path: "costs", ofMonitor: true, draw: drawCosts },
];

let metric = "auc";

function draw(found) {
  return [
    el("h2", {}, "How well it goes"),
    drawFigures(found),
    ...drawQuality(found.quality),
    ...drawEnds(found.ends),
    ...drawDecisions(found.decisions),
  ];
}

function drawFigures({ quality, ends, decisions }) {
  const over = ends.flatMap((month) => Object.entries(month.ends));
  const total = over.reduce((sum, [, count]) => sum + count, 0);
  const promoted = over.reduce((sum, [end, count]) => sum + (end === "PROMOTED" ? count : 0), 0);
  const newest = quality.at(-1);
  const declined = decisions.filter(({ kind }) => kind === "DECLINED").length;
  const figures = [
    ["Retrainings that were promoted", total ? `${promoted} of ${total}` : "none yet"],
    ["Decisions declined", decisions.length ? `${declined} of ${decisions.length}` : "none yet"],
    ["Newest window's AUC", newest?.metrics.auc?.toFixed(4) ?? "unknown"],
    [
      "Its outcomes known",
      newest?.predictions ? percent(newest.outcomes / newest.predictions) : "unknown",
    ],
  ];
  return el(
    "dl",
    { class: "figures" },
    figures.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

function drawQuality(reports) {
  const metrics = [...new Set(reports.flatMap((report) => Object.keys(report.metrics)))].sort();
  const heading = el("h2", {}, "Quality by window");
  if (!metrics.length) return [heading, notice("No window with outcomes has been judged yet.")];
  if (!metrics.includes(metric)) [metric] = metrics;
  const place = el("div");
  const choice = el(
    "select",
    { "data-key": "metric", change: () => redraw() },
    metrics.map((name) => el("option", { value: name, selected: name === metric && "" }, words(name))),
  );
  function redraw() {
    metric = choice.value;
    const points = reports
      .filter((report) => metric in report.metrics)
      .map((report) => ({
        label: report.window_start.slice(0, 10),
        value: report.metrics[metric],
        halfWidth: report.half_widths[metric] ?? 0,
      }));
    place.replaceChildren(...lineChart(`${words(metric)} by window`, points));
  }
  redraw();
  return [heading, el("label", { class: "choice" }, "Metric ", choice), place];
}

function drawEnds(months) {
  const heading = el("h2", {}, "Retrainings by month");
  if (!months.length) return [heading, notice("No episode has ended yet.")];
  const ends = ["PROMOTED", "REJECTED", "ROLLED_BACK", "FAILED"];
  const columns = [
    ["month", (row) => row.month],
    ...ends.map((end) => [words(end), (row) => String(row.ends[end] ?? 0), "number"]),
  ];
  return [heading, table("Retrainings by month", columns, months)];
}

function drawDecisions(decisions) {
  const heading = el("h2", {}, "Decisions");
  if (!decisions.length) return [heading, notice("Nothing has been decided yet.")];
  const columns = [
    ["data up to", (decision) => time(decision.event_time)],
    ["decision", (decision) => state(decision.kind)],
    ["reason", (decision) => words(decision.reason)],
    ["in numbers", (decision) => decision.explanation, "words"],
  ];
  return [heading, table("Decisions", columns, decisions)];
}
