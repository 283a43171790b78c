// What a column held in training and in a window, one beside the other.

import { histogram } from "../chart.js";
import { counted, el } from "../dom.js";

export function drawHistograms({ bins, baseline_rows: before, window_rows: now }) {
  return [
    el(
      "p",
      {},
      el("span", { class: "key baseline" }, `training (${counted(before, "row")}) `),
      el("span", { class: "key window" }, `window (${counted(now, "row")})`),
    ),
    histogram("Shares in training and in the window", bins),
  ];
}
