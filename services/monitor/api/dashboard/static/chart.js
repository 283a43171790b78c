// A line over windows with its confidence band, and what it shows as a table.

import { el, svg, table } from "./dom.js";

const WIDTH = 760;
const HEIGHT = 240;
const LEFT = 52;
const BOTTOM = 24;
const TOP = 12;

// `points` are { label, value, halfWidth }, the oldest first; `along` says what a label is.
export function lineChart(title, points, along = "window") {
  const lows = points.map(({ value, halfWidth }) => value - halfWidth);
  const highs = points.map(({ value, halfWidth }) => value + halfWidth);
  const low = Math.min(...lows);
  const span = Math.max(...highs) - low || 1;
  const x = (i) => LEFT + ((WIDTH - LEFT - 10) * (i + 0.5)) / points.length;
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / span);
  const grid = [0, 0.5, 1].map((share) => {
    const value = low + span * share;
    return svg(
      "g",
      {},
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(3)),
    );
  });
  const upper = highs.map((value, i) => `${x(i)},${y(value)}`);
  const lower = lows.map((value, i) => `${x(i)},${y(value)}`).reverse();
  const line = points.map(({ value }, i) => `${x(i)},${y(value)}`);
  const dots = points.map(({ label, value }, i) =>
    svg(
      "circle",
      { class: "dot", cx: x(i), cy: y(value), r: 3 },
      svg("title", {}, `${label}: ${value.toFixed(4)}`),
    ),
  );
  const ends = [...new Set([0, points.length - 1])].map((i) =>
    svg("text", { x: x(i), y: HEIGHT - 6, "text-anchor": i ? "end" : "start" }, points[i].label),
  );
  const drawing = svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title },
    grid,
    svg("polygon", { class: "band", points: [...upper, ...lower].join(" ") }),
    svg("polyline", { class: "series", points: line.join(" ") }),
    dots,
    ends,
  );
  const numbers = table(
    title,
    [
      [along, ({ label }) => label],
      ["value", ({ value }) => value.toFixed(4), "number"],
      ["± 95 %", ({ halfWidth }) => (halfWidth ? halfWidth.toFixed(4) : "–"), "number"],
    ],
    points,
  );
  return [drawing, el("details", {}, el("summary", {}, "As a table"), numbers)];
}

const ROW = 26;
const LABELS = 190;

// Shares of both histograms, bin by bin.
export function histogram(title, bins) {
  const total = (side) => bins.reduce((sum, bin) => sum + bin[side], 0) || 1;
  const totals = { baseline: total("baseline"), window: total("window") };
  const share = (bin, side) => bin[side] / totals[side];
  const most = Math.max(...bins.flatMap((bin) => [share(bin, "baseline"), share(bin, "window")]));
  const bar = (bin, side, top) =>
    svg("rect", {
      class: side,
      x: LABELS,
      y: top,
      width: ((WIDTH - LABELS - 60) * share(bin, side)) / (most || 1),
      height: 10,
    });
  const rows = bins.map((bin, i) =>
    svg(
      "g",
      {},
      svg("text", { x: LABELS - 8, y: i * ROW + 16, "text-anchor": "end" }, bin.label.slice(0, 28)),
      bar(bin, "baseline", i * ROW + 2),
      bar(bin, "window", i * ROW + 13),
      svg(
        "title",
        {},
        `${bin.label}: ${percent(share(bin, "baseline"))} in training, ` +
          `${percent(share(bin, "window"))} in the window`,
      ),
    ),
  );
  return svg(
    "svg",
    {
      class: "histogram",
      viewBox: `0 0 ${WIDTH} ${bins.length * ROW}`,
      role: "img",
      "aria-label": title,
    },
    rows,
  );
}

const BAR = 24;

// One bar for each of `bars`, { label, value, text, kind }; the values are not negative. A line
// marks `mark`, where there is one.
export function barChart(title, bars, mark) {
  const most = Math.max(...bars.map(({ value }) => value), mark ?? 0) || 1;
  const wide = (value) => ((WIDTH - LABELS - 170) * value) / most;
  const height = bars.length * BAR + 4;
  const rows = bars.map(({ label, value, text, kind }, i) =>
    svg(
      "g",
      {},
      svg("text", { x: LABELS - 8, y: i * BAR + 16, "text-anchor": "end" }, label.slice(0, 28)),
      svg("rect", { class: `bar ${kind ?? ""}`, x: LABELS, y: i * BAR + 5, width: wide(value), height: 14 }),
      svg("text", { x: LABELS + wide(value) + 8, y: i * BAR + 16 }, text),
      svg("title", {}, `${label}: ${text}`),
    ),
  );
  const at = LABELS + wide(mark ?? 0);
  const line = mark === undefined ? [] : svg("line", { class: "mark", x1: at, x2: at, y1: 0, y2: height });
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": title },
    rows,
    line,
  );
}

export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
