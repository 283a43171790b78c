// Where it drifts: columns that are far from training in a slice of one window.

import { openDialog } from "../dialog.js";
import { counted, el, notice, state, table } from "../dom.js";
import { drawHistograms } from "./histograms.js";
import { bad } from "./slices.js";

export function drawSliceDrift({ window, slices }) {
  return [
    el("h3", {}, "Drift by slice"),
    el(
      "p",
      { class: "faint" },
      "Each column in each slice beside the same slice in training, the farthest first. It stands out " +
        "where it is as far as the whole column would have to be to count, beyond chance, and lasts where so it " +
        "did in enough of the last windows. No alarm comes of this.",
    ),
    ...drawSlices(window, slices),
  ];
}

function drawSlices(window, slices) {
  if (!slices) return [notice("This monitor names no feature that slices, or did not then.")];
  const { measured, standing_out: out, lasting, points, unsliced } = slices;
  const lacking = unsliced.length
    ? notice(
        `The training data of this version were not sliced by ${unsliced.join(", ")}: ` +
          "name it in slice_columns of the job.",
      )
    : null;
  if (!measured) return [lacking, notice("No slice has 50 rows in training and in the window.")].filter(Boolean);
  const columns = [
    ["slice", ({ slice }) => slice],
    ["column", (point) => drawName(point, window)],
    ["", ({ lasts, stands_out: far }) => (lasts ? bad("LASTS") : far ? state("STANDS_OUT") : "")],
    ["windows", ({ hits }) => String(hits), "number"],
    ["effect", ({ effect_size: effect }) => effect.toFixed(3), "number"],
    ["counts from", ({ threshold }) => threshold.toFixed(3), "number"],
    ["q", ({ q_value: q }) => q.toPrecision(2), "number"],
    ["rows", ({ window_rows: rows }) => String(rows), "number"],
    ["in training", ({ baseline_rows: rows }) => String(rows), "number"],
  ];
  const more = measured > points.length ? ` The ${points.length} farthest are shown.` : "";
  return [
    lacking,
    el("p", {}, `Of ${counted(measured, "column")} in slices ${out} stand out, ${lasting} of them last.${more}`),
    table("Drift by slice", columns, points),
  ].filter(Boolean);
}

function drawName(point, window) {
  const start = window.window_start.slice(0, 10);
  const title = `${point.feature} where ${point.slice}, window of ${start}`;
  return el(
    "button",
    {
      type: "button",
      "data-key": title,
      "aria-haspopup": "dialog",
      "aria-label": `${title}: both histograms`,
      click: () => openDialog(title, () => drawHistograms(point)),
    },
    point.feature,
  );
}
