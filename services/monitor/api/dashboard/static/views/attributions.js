// What scores follow: how much each feature explains of them alone, in training and in one window.

import { counted, el, notice, state, table } from "../dom.js";
import { bad } from "./slices.js";

export function drawAttributions({ attributions }) {
  return [
    el("h3", {}, "What scores follow"),
    el(
      "p",
      { class: "faint" },
      "How much each feature explains of the scores by itself, 0 to 1, here and on held-out rows of training. " +
        "If what goes in is as it was and this is not, what answers is not what was trained. " +
        "No alarm comes of this.",
    ),
    ...(attributions
      ? drawFeatures(attributions)
      : [notice("The version has no held-out rows with scores, there are too few, or all scores are the same.")]),
  ];
}

function drawFeatures(found) {
  const { measured, moved, lasting, points, baseline_rows: before, window_rows: now } = found;
  const columns = [
    ["feature", ({ feature }) => feature],
    ["", (point) => (point.lasts ? bad("LASTS") : point.moved ? state("MOVED") : "")],
    ["windows", ({ hits }) => String(hits), "number"],
    ["in training", ({ baseline }) => baseline.toFixed(3), "number"],
    ["in the window", ({ window }) => window.toFixed(3), "number"],
    ["difference", (point) => difference(point), "number"],
  ];
  const more = measured > points.length ? ` The ${points.length} farthest are shown.` : "";
  return [
    el(
      "p",
      {},
      `Of ${counted(measured, "feature")} ${moved} moved, ${lasting} of them last: by ${counted(now, "row")} ` +
        `of the window and ${before} of training.${more}`,
    ),
    table("What scores follow", columns, points),
  ];
}

function difference({ baseline, window, half_width: halfWidth }) {
  const moved = window - baseline;
  return `${moved < 0 ? "" : "+"}${moved.toFixed(3)} ± ${halfWidth.toFixed(3)}`;
}
