// What is left of error budgets, how fast they burn, and what training costs.

import { barChart, percent } from "../chart.js";
import { counted, el, notice, shortName, state, table, time, words } from "../dom.js";

const MOST_MODELS = 12;
const MOST_MONTHS = 12;

export function drawBudgets({ objectives }) {
  const heading = el("h2", {}, "Error budgets");
  if (!objectives.length) {
    return [heading, notice("There is no objective yet; roundhouse slos import makes some.")];
  }
  return [heading, ...objectives.flatMap(drawObjective)];
}

function drawObjective(objective) {
  const name = shortName(objective.name).split("/").pop();
  const days = objective.window_s / 86_400;
  const promise = `${words(objective.counts)}, ${objective.target} good in ${counted(days, "day")}`;
  const heading = el("h3", {}, `${name} `, el("span", { class: "faint" }, promise));
  const orders = objective.restraints.map(({ action, since, reason }) =>
    el("p", {}, state(action), " ", time(since), " ", reason),
  );
  if (objective.unknown) return [heading, ...orders, notice(objective.unknown, "error")];
  if (!objective.total) return [heading, ...orders, notice("Nothing was counted yet.")];
  const { remaining, rules } = objective;
  const kind = remaining < 0 ? "bad" : remaining < 0.2 ? "warn" : "";
  const left = [
    { label: "budget left", value: Math.min(Math.max(remaining, 0), 1), text: percent(remaining), kind },
  ];
  const burning = rules.map((rule) => {
    const rate = Math.min(rule.long_rate, rule.short_rate);
    return {
      label: `${words(rule.severity)}, ${span(rule.long_s)} and ${span(rule.short_s)}`,
      value: rate / rule.factor,
      text: `${rate.toPrecision(3)} of ${rule.factor}${rule.firing ? ", fires" : ""}`,
      kind: rule.firing ? "bad" : "",
    };
  });
  return [
    heading,
    el(
      "p",
      {},
      `${objective.good} of ${counted(objective.total, "event")} good, ${percent(remaining)} of the budget left, up to `,
      time(objective.time),
      ...(rules.some(({ firing }) => firing) ? [" ", state("BURNING")] : []),
    ),
    ...orders,
    barChart(`Budget left of ${name}`, left, 1),
    barChart(`Burn rates of ${name}, in units of what fires`, burning, 1),
    el("details", {}, el("summary", {}, "As a table"), ruleTable(name, rules)),
  ];
}

function ruleTable(name, rules) {
  const columns = [
    ["rule", (rule) => words(rule.severity)],
    ["windows", (rule) => `${span(rule.long_s)} and ${span(rule.short_s)}`],
    ["fires above", (rule) => String(rule.factor), "number"],
    ["long", (rule) => rule.long_rate.toPrecision(3), "number"],
    ["short", (rule) => rule.short_rate.toPrecision(3), "number"],
    ["fires", (rule) => (rule.firing ? "yes" : "no")],
  ];
  return table(`Burn rates of ${name}`, columns, rules);
}

function span(seconds) {
  for (const [unit, length] of [["d", 86_400], ["h", 3600]]) {
    if (seconds >= length) return `${seconds / length} ${unit}`;
  }
  return `${seconds / 60} min`;
}

export function drawCosts({ models, months }) {
  const heading = el("h2", {}, "What training costs");
  if (!models.length) return [heading, notice("Nothing was charged yet.")];
  const shown = models.slice(0, MOST_MODELS);
  const more = models.length - shown.length;
  return [
    heading,
    el("h3", {}, "By model"),
    costChart("Costs by model", shown),
    ...(more ? [el("p", { class: "faint" }, `${counted(more, "cheaper model")} left out.`)] : []),
    el("h3", {}, "By month"),
    costChart("Costs by month", months.slice(-MOST_MONTHS)),
  ];
}

function costChart(title, costs) {
  return barChart(
    title,
    costs.map(({ group, amount, currency }) => ({
      label: group.split("/").pop(),
      value: amount,
      text: `${amount.toFixed(2)} ${currency}`,
    })),
  );
}
