// Slices: how each did in a window beside all rows, and what a rollout found in them.

import { ask } from "../api.js";
import { el, notice, shortName, state, table, words } from "../dom.js";

let metric = "auc";
let chosen = "";

export function drawSlices({ features, reports }) {
  const heading = el("h2", {}, "Slices by window");
  if (!features.length) return [heading, notice("This monitor names no feature that slices.")];
  if (!reports.length) return [heading, notice("No window with slices has been judged yet.")];
  const place = el("div", { "aria-live": "polite" }, notice("Reading …"));
  const window = choice(
    "slices-report",
    reports.map((each) => [each.name, called(each)]),
    reports.some(({ name }) => name === chosen) ? chosen : reports[0].name,
  );
  const by = choice("slices-metric", ["auc", "log_loss"].map((name) => [name, words(name)]), metric);
  let found;
  async function read() {
    try {
      chosen = window.value;
      found = await ask("report-slices", { report: window.value });
      redraw();
    } catch (failure) {
      place.replaceChildren(notice(failure.message, "error"));
    }
  }
  function redraw() {
    metric = by.value;
    place.replaceChildren(...drawReport(found, metric));
  }
  window.addEventListener("change", read);
  by.addEventListener("change", redraw);
  read();
  return [
    heading,
    el(
      "p",
      { class: "faint" },
      `By ${features.join(", ")}; the slice that is most surely worse than all rows of its window first. ` +
        "The intervals hold for all slices together; no alarm comes of this.",
    ),
    el("label", { class: "choice" }, "Window ", window),
    el("label", { class: "choice" }, "By ", by),
    place,
  ];
}

export function choice(key, values, picked) {
  const options = values.map(([value, text]) =>
    el("option", { value, selected: value === picked && "" }, text),
  );
  return el("select", { "data-key": key }, options);
}

function called({ version, window_start: start }) {
  return `${start.slice(0, 10)}, ${version ? shortName(version) : "all versions"}`;
}

function drawReport(report, by) {
  const whole = report.whole[by];
  const columns = [
    ["slice", ({ feature, value }) => `${feature} = ${value}`],
    ["", (row) => (row.worse_by === null ? state("TOO_FEW") : row.is_worse ? bad("WORSE") : "")],
    [words(by), ({ measured }) => told(measured), "number"],
    ["worse than all by", (row) => gap(row), "number"],
    ["on held-out rows", ({ held_out: before }) => told(before), "number"],
    ["calibration bias", ({ calibration_bias: bias }) => told(bias), "number"],
    ["predictions", ({ predictions }) => String(predictions), "number"],
    ["outcomes", ({ outcomes }) => String(outcomes), "number"],
  ];
  return [
    el("p", {}, `All rows of the window: ${words(by)} ${told(whole)}, ${report.outcomes} outcomes.`),
    report.unknown ? notice(report.unknown, "error") : null,
    table("Slices by window", columns, report.metrics[by]),
    el("p", { class: "name" }, report.name),
  ].filter(Boolean);
}

export function bad(value) {
  return el("span", { class: "state bad" }, words(value));
}

function told(value) {
  return value === null || value === undefined ? "–" : value.toFixed(4);
}

function gap({ worse_by: worse, half_width: half }) {
  return worse === null ? "–" : `${worse.toFixed(4)} ± ${half.toFixed(4)}`;
}

export function drawRollout({ rollout, version, previous_version: before, findings }) {
  const heading = el("h2", {}, "Slices in the newest rollout");
  if (!findings.length) return [heading, notice("No rollout has compared slices yet.")];
  const columns = [
    ["slice", ({ feature, value }) => `${feature} = ${value}`],
    ["verdict", ({ verdict }) => (verdict === "FAIL" ? bad("FAIL") : words(verdict))],
    ["measure", ({ measure }) => words(measure)],
    ["effect", ({ effect }) => told(effect), "number"],
    ["tolerated", ({ tolerance }) => told(tolerance), "number"],
    ["of the new version", ({ rows }) => String(rows), "number"],
    ["phase", ({ phase }) => String(phase + 1), "number"],
    ["why", ({ reason }) => reason, "words"],
  ];
  return [
    heading,
    el("p", { class: "faint" }, `${shortName(version)} beside ${shortName(before)}; proven harm first.`),
    table("Slices in the newest rollout", columns, findings),
    el("p", { class: "name" }, rollout),
  ];
}
