// Quality by model family: each version that served, by its test and by its windows, on one scale.

import { percent } from "../chart.js";
import { counted, el, notice, shortName, svg, table, time, words } from "../dom.js";

const WIDTH = 760;
const HEIGHT = 150;
const LEFT = 52;
const TOP = 18;
const BOTTOM = 8;

export function drawFamilies({ families, left_out: leftOut }) {
  const heading = el("h2", {}, "Quality by model family");
  if (!families.length) return [heading, notice("There is no model yet.")];
  const served = families.filter(({ versions }) => versions.length);
  const idle = families.filter(({ versions }) => !versions.length);
  const scale = scaleOf(served);
  return [
    heading,
    el(
      "p",
      { class: "faint" },
      "The part of the way from the trivial baseline (0 %: the same answer for every row) to no error (100 %), " +
        "so that all models stand on one scale. A bar is what a version scored on its held-out rows before it " +
        "served, the line what its outcomes said while it did, window by window.",
    ),
    ...served.flatMap((family) => drawFamily(family, scale)),
    idle.length
      ? el("p", { class: "faint" }, `Never served: ${idle.map(({ model }) => shortId(model)).join(", ")}.`)
      : null,
    leftOut ? el("p", { class: "faint" }, `${counted(leftOut, "model")} left out.`) : null,
  ].filter(Boolean);
}

const shortId = (name) => name.split("/").pop();

// From the lowest share of all models to the whole, so that heights can be compared.
function scaleOf(families) {
  const shares = families.flatMap(({ versions }) =>
    versions.flatMap(({ skill, live }) => [skill, ...live.map((each) => each.skill)]),
  );
  const lows = shares.filter(Boolean).map(({ share, half_width: half }) => share - half);
  const low = Math.min(0, ...lows);
  return (share) => TOP + ((HEIGHT - TOP - BOTTOM) * (1 - share)) / (1 - low);
}

function drawFamily({ model, versions }, y) {
  const id = shortId(model);
  const measured = versions.filter(({ skill, live }) => skill || live.length);
  return [
    el("h3", {}, id),
    measured.length
      ? drawChart(`Quality of ${id} by version`, measured, y)
      : notice("No version has a score that has a known baseline."),
    drawTable(`Versions of ${id} that served`, versions),
  ];
}

// Each version has as much room as it has windows, and two more for its name.
function drawChart(title, versions, y) {
  const room = versions.map(({ live }) => live.length + 2);
  const unit = (WIDTH - LEFT - 4) / room.reduce((sum, each) => sum + each, 0);
  let from = LEFT;
  const marks = versions.flatMap((version, i) => {
    const left = from;
    from += unit * room[i];
    return drawVersion(version, left, from, unit, y);
  });
  const lines = [0, 1].map((share) =>
    svg(
      "g",
      {},
      svg("line", { class: share ? "grid" : "mark", x1: LEFT, x2: WIDTH, y1: y(share), y2: y(share) }),
      svg("text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, `${100 * share} %`),
    ),
  );
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title },
    lines,
    marks,
  );
}

function drawVersion({ version, skill, live }, left, right, unit, y) {
  const at = live.map((_, i) => left + unit * (i + 1.5));
  const upper = live.map(({ skill: { share, half_width: half } }, i) => `${at[i]},${y(share + half)}`);
  const lower = live.map(({ skill: { share, half_width: half } }, i) => `${at[i]},${y(share - half)}`);
  const line = live.map(({ skill: { share } }, i) => `${at[i]},${y(share)}`);
  const dots = live.map(({ window_start: start, skill: each }, i) =>
    svg(
      "circle",
      { class: "dot", cx: at[i], cy: y(each.share), r: 2.5 },
      svg("title", {}, `version ${shortId(version)}, ${start.slice(0, 10)}: ${percent(each.share)}`),
    ),
  );
  return [
    svg("line", { class: "grid", x1: left, x2: left, y1: TOP, y2: HEIGHT - BOTTOM }),
    svg("text", { class: "version", x: left + 4, y: TOP - 5 }, `v${shortId(version)}`),
    skill && svg("line", { class: "test", x1: left, x2: right, y1: y(skill.share), y2: y(skill.share) }),
    live.length > 1 &&
      svg("polygon", { class: "band", points: [...upper, ...lower.reverse()].join(" ") }),
    live.length > 1 && svg("polyline", { class: "series", points: line.join(" ") }),
    ...dots,
  ].filter(Boolean);
}

function drawTable(caption, versions) {
  const columns = [
    ["version", ({ version }) => shortId(version)],
    ["serves at", ({ services }) => el("ul", { class: "plain" }, services.map(drawService))],
    ["metric", ({ skill, live }) => words((skill ?? live[0]?.skill)?.metric ?? "none known")],
    ["held-out rows", ({ skill }) => told(skill), "number"],
    ["newest window", ({ live }) => told(live.at(-1)?.skill), "number"],
    ["change", ({ skill, live }) => changed(skill, live.at(-1)?.skill), "number"],
    ["outcomes", ({ live }) => String(live.reduce((sum, { outcomes }) => sum + outcomes, 0)), "number"],
    ["evidence", ({ evaluation }) => el("span", { class: "name" }, evaluation ? shortName(evaluation) : "–")],
  ];
  return table(caption, columns, versions);
}

function drawService({ endpoint, since }) {
  return el("li", {}, `${shortId(endpoint)} since `, time(since));
}

function told(skill) {
  if (!skill) return "–";
  const half = skill.half_width ? ` ± ${percent(skill.half_width)}` : "";
  return `${percent(skill.share)}${half} (${skill.value.toFixed(4)})`;
}

// Only where both are of one metric; beyond both intervals it is said in words.
function changed(before, now) {
  if (!before || !now || before.metric !== now.metric) return "–";
  const change = now.share - before.share;
  const sure = Math.abs(change) > Math.hypot(before.half_width, now.half_width);
  const points = `${change < 0 ? "−" : "+"}${(100 * Math.abs(change)).toFixed(1)} points`;
  return sure ? points : `${points}, within chance`;
}
