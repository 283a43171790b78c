// What people have to look at: over all monitors, and what burns, waits and fails at one of them.

import { counted, el, notice, state, time } from "../dom.js";
import { drawBudgets } from "./standing.js";
import { drawFailures, drawIncidents, drawQueue } from "./training.js";

export const parts = [
  { title: "Incidents", path: "incidents", ofMonitor: false, draw: drawIncidents },
  { title: "To look at", path: "oncall", ofMonitor: false, draw },
  { title: "Error budgets", path: "budgets", ofMonitor: true, draw: drawBudgets },
  { title: "Training queue", path: "queue", ofMonitor: true, draw: drawQueue },
  { title: "Failed attempts at training", path: "failures", ofMonitor: true, draw: drawFailures },
];

const HEADINGS = {
  NOW: ["Now", "Nothing needs anybody now."],
  SOON: ["In working hours", "Nothing waits."],
  NONE: ["Going on by itself", "Nothing is under way."],
};

function draw({ concerns, monitors, left_out: leftOut }) {
  const sections = Object.entries(HEADINGS).flatMap(([urgency, [heading, empty]]) => {
    const found = concerns.filter((concern) => concern.urgency === urgency);
    return [
      el("h2", {}, heading),
      found.length ? el("ul", { class: "queue" }, found.map(drawConcern)) : notice(empty),
    ];
  });
  const more = leftOut ? ` ${counted(leftOut, "less urgent concern")} left out.` : "";
  return [...sections, el("p", { class: "faint" }, `Over ${counted(monitors, "monitor")}.${more}`)];
}

function drawConcern(concern) {
  return el(
    "li",
    { class: concern.urgency.toLowerCase() },
    state(concern.kind),
    " ",
    time(concern.time),
    el("p", {}, concern.message),
    el("p", { class: "name" }, concern.subject),
  );
}
