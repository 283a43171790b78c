// One window of those that were judged: in which slices it drifts, and what its scores follow.

import { ask } from "../api.js";
import { el, notice } from "../dom.js";
import { drawAttributions } from "./attributions.js";
import { drawSliceDrift } from "./slice_drift.js";
import { choice } from "./slices.js";

let chosen = "";

export function drawWindow(windows) {
  const heading = el("h2", {}, "One window");
  if (!windows.length) return [heading, notice("No window has been judged yet.")];
  const place = el("div", { "aria-live": "polite" }, notice("Reading …"));
  const window = choice(
    "drift-report",
    windows.map(({ name, window_start: start }) => [name, start.slice(0, 10)]),
    windows.some(({ name }) => name === chosen) ? chosen : windows[0].name,
  );
  async function read() {
    try {
      chosen = window.value;
      const [slices, attributions] = await Promise.all([
        ask("drift-slices", { report: chosen }),
        ask("attributions", { report: chosen }),
      ]);
      place.replaceChildren(...drawSliceDrift(slices), ...drawAttributions(attributions));
    } catch (failure) {
      place.replaceChildren(notice(failure.message, "error"));
    }
  }
  window.addEventListener("change", read);
  read();
  return [heading, el("label", { class: "choice" }, "Drift of the window ", window), place];
}
