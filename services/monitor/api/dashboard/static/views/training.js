// Training as it stands: what waits and runs, what failed, and one job down to its curves.

import { ask } from "../api.js";
import { lineChart, percent } from "../chart.js";
import { openDialog } from "../dialog.js";
import { counted, el, notice, shortName, state, table, time, words } from "../dom.js";

export function drawQueue({ jobs }) {
  const heading = el("h2", {}, "Training queue");
  if (!jobs.length) return [heading, notice("No job waits or runs.")];
  const columns = [
    ...jobColumns,
    ["priority", (job) => String(job.priority), "number"],
    ["done", (job) => percent(job.progress), "number"],
    ["since", (job) => time(job.create_time)],
  ];
  return [heading, table("Training queue", columns, jobs)];
}

export function drawFailures({ failures }) {
  const heading = el("h2", {}, "Failed attempts at training");
  if (!failures.length) return [heading, notice("No attempt has failed in the last 30 days.")];
  const columns = [
    ["when", (failure) => time(failure.time)],
    ["job", (failure) => jobButton(failure.job)],
    ["attempt", (failure) => String(failure.attempt), "number"],
    ["why", (failure) => state(failure.error_class)],
    ["machine", (failure) => failure.node || "–"],
    ["what happened", (failure) => failure.message, "words"],
  ];
  return [heading, table("Failed attempts at training", columns, failures)];
}

export function drawJobs({ jobs }) {
  const heading = el("h2", {}, "Training jobs");
  if (!jobs.length) return [heading, notice("No job has been submitted yet.")];
  const columns = [
    ...jobColumns,
    ["attempts", (job) => String(job.attempts), "number"],
    ["changed", (job) => time(job.update_time)],
    ["error", (job) => (job.error_class ? words(job.error_class) : "–")],
  ];
  return [
    heading,
    el("p", { class: "faint" }, "Newest first. Choose one to see its curves, checkpoints and log."),
    table("Training jobs", columns, jobs),
  ];
}

const jobColumns = [
  ["job", (job) => jobButton(job.name)],
  ["state", (job) => state(job.state)],
  ["model", (job) => job.model.split("/").pop()],
  ["owner", (job) => job.owner || "–"],
];

function jobButton(name) {
  const id = name.split("/").pop();
  return el(
    "button",
    {
      type: "button",
      "data-key": name,
      "aria-haspopup": "dialog",
      click: () => openDialog(id, async () => drawJob(await ask("job", { name }))),
    },
    id,
  );
}

function drawJob(job) {
  return [
    el(
      "p",
      {},
      state(job.state),
      ` ${percent(job.progress)} done, ${counted(job.attempts, "attempt")}, of ${job.owner || "nobody"}, since `,
      time(job.create_time),
    ),
    job.message ? el("p", {}, `${words(job.error_class)}: ${job.message}`) : null,
    job.trace_id ? el("p", {}, "Trace ", el("span", { class: "name" }, job.trace_id)) : null,
    ...drawCurves(job),
    ...drawCheckpoints(job.checkpoints),
    ...drawTries(job.tries),
    ...drawLog(job.log),
  ];
}

function drawCurves({ curves, left_out: leftOut }) {
  const heading = el("h3", {}, "Curves");
  if (!curves.length) return [heading, notice("Nothing was measured yet.")];
  const first = Math.max(0, curves.findIndex(({ series }) => series.includes("loss")));
  const place = el("div");
  const choice = el(
    "select",
    { change: redraw },
    curves.map(({ trial, series }, i) =>
      el("option", { value: i, selected: i === first && "" }, `${trial}: ${words(series)}`),
    ),
  );
  function redraw() {
    const { trial, series, points } = curves[Number(choice.value)];
    const drawn = points.map(([step, value]) => ({ label: String(step), value, halfWidth: 0 }));
    place.replaceChildren(...lineChart(`${words(series)} of ${trial} by step`, drawn, "step"));
  }
  redraw();
  const more = leftOut ? el("p", { class: "faint" }, `${counted(leftOut, "point")} left out.`) : null;
  return [heading, el("label", { class: "choice" }, "Curve ", choice), place, more];
}

function drawCheckpoints(checkpoints) {
  const heading = el("h3", {}, "Checkpoints");
  if (!checkpoints.length) return [heading, notice("There is none.")];
  const columns = [
    ["trial", ({ trial }) => trial],
    ["step", ({ step }) => String(step), "number"],
    ["KiB", ({ size_bytes: size }) => (size / 1024).toFixed(1), "number"],
    ["kept since", (each) => time(each.create_time)],
    ["digest", ({ digest }) => el("span", { class: "name" }, digest.slice(0, 19))],
  ];
  return [heading, table("Checkpoints", columns, checkpoints)];
}

function drawTries(tries) {
  if (!tries.length) return [];
  const columns = [
    ["attempt", ({ number }) => String(number), "number"],
    ["end", (each) => state(each.error_class || each.state)],
    ["machine", ({ node }) => node || "–"],
    ["from", ({ start }) => time(start)],
    ["to", ({ end }) => (end ? time(end) : "–")],
    ["what happened", ({ message }) => message || "–", "words"],
  ];
  return [el("h3", {}, "Attempts"), table("Attempts", columns, tries)];
}

function drawLog(lines) {
  if (!lines.length) return [];
  const log = el("pre", { tabindex: 0, "aria-label": "End of the log" }, lines.join("\n"));
  return [el("h3", {}, "End of the log"), log];
}

export function drawIncidents({ incidents, left_out: leftOut }) {
  const heading = el("h2", {}, "Incidents");
  if (!incidents.length) return [heading, notice("No alert is open.")];
  const more = leftOut ? [el("p", { class: "faint" }, `${counted(leftOut, "incident")} left out.`)] : [];
  return [heading, el("ul", { class: "queue" }, incidents.map(drawIncident)), ...more];
}

function drawIncident(incident) {
  const failures = incident.failures ? `, ${counted(incident.failures, "failed attempt")}` : "";
  const owners = incident.owners.length ? ` Ask ${incident.owners.join(", ")}.` : "";
  return el(
    "li",
    { class: incident.severity === "PAGE" ? "now" : "soon" },
    state(incident.severity),
    " ",
    ...incident.error_classes.flatMap((kind) => [state(kind), " "]),
    time(incident.create_time),
    incident.escalated_to.length ? ` escalated to ${incident.escalated_to.join(", ")}` : null,
    el("p", {}, incident.summary),
    el("p", { class: "name" }, incident.cause),
    el(
      "p",
      {},
      `${words(incident.state)}: ${counted(incident.unresolved, "alert")}${failures}.${owners} ${incident.runbook}`,
    ),
    el(
      "button",
      {
        type: "button",
        "data-key": incident.id,
        "aria-haspopup": "dialog",
        click: () => openDialog(incident.error_classes.map(words).join(", "), () => incident.alerts.flatMap(drawAlert)),
      },
      "Alerts",
    ),
  );
}

function told({ action, receiver }) {
  return receiver ? `${words(action)} to ${receiver}` : words(action);
}

function drawAlert(alert) {
  const { failure } = alert;
  const facts = failure
    ? [
        `Job ${shortName(failure.job)}, attempt ${failure.attempt}, on ${failure.node || "no known machine"}.`,
        alert.checkpoint ? `Newest checkpoint: ${alert.checkpoint}.` : null,
        failure.trace_id ? `Trace ${failure.trace_id}.` : null,
      ]
    : [];
  const steps = alert.steps.map((step) =>
    el("li", {}, time(step.time), ` ${told(step)} by ${step.actor}: ${step.reason}`),
  );
  return [
    el("h3", {}, shortName(alert.resource)),
    el("p", {}, state(alert.severity), " ", state(alert.state), " ", alert.summary),
    ...facts.filter(Boolean).map((fact) => el("p", {}, fact)),
    el("ol", {}, steps),
    ...drawLog(alert.log),
  ];
}
