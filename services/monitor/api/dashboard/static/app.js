// Which view of which monitor is shown, and when it is read anew.

import { ask, listen } from "./api.js";
import { el, notice, words } from "./dom.js";
import * as debug from "./views/debug.js";
import * as executive from "./views/executive.js";
import * as loop from "./views/loop.js";
import * as oncall from "./views/oncall.js";

// A view has `parts`: each its own request and its own place, so that one failing leaves the rest.
const VIEWS = { loop, executive, oncall, debug };
const REFRESH_MS = 30_000; // what other services do sends no event here
const GATHER_MS = 300; // events come in bursts

const panel = document.getElementById("panel");
const choice = document.getElementById("monitor");
const live = document.getElementById("live");
const tabs = [...document.querySelectorAll("[role=tab]")];

let shown = { view: "", monitor: "" };
let reading = new AbortController();
let monitors = "";
let gathering;

function wanted() {
  const [view, query] = location.hash.slice(1).split("?");
  const monitor = new URLSearchParams(query).get("monitor") ?? "";
  return { view: view in VIEWS ? view : "loop", monitor };
}

function go(view, monitor) {
  location.hash = `${view}?${new URLSearchParams({ monitor })}`;
}

async function show() {
  reading.abort();
  reading = new AbortController();
  const { signal } = reading;
  const { view, monitor } = wanted();
  for (const tab of tabs) {
    const selected = tab.dataset.view === view;
    tab.setAttribute("aria-selected", selected);
    tab.tabIndex = selected ? 0 : -1;
    if (selected) panel.setAttribute("aria-labelledby", tab.id);
  }
  if (shown.view !== view || shown.monitor !== monitor) {
    panel.replaceChildren(...VIEWS[view].parts.map(() => el("section", {}, notice("Reading …"))));
    shown = { view, monitor };
  }
  panel.setAttribute("aria-busy", "true");
  try {
    await offer(signal);
    const once = askedOnce(signal);
    const parts = VIEWS[view].parts;
    await Promise.all(parts.map((part, i) => fill(panel.children[i], part, choice.value, once)));
    panel.setAttribute("aria-busy", "false");
  } catch (failure) {
    if (failure.name !== "AbortError") throw failure;
  }
}

// Parts that ask for the same get one answer.
function askedOnce(signal) {
  const answers = {};
  return (path, parameters) => (answers[path] ??= ask(path, parameters, signal));
}

async function offer(signal) {
  try {
    const found = await ask("monitors", {}, signal);
    const text = JSON.stringify(found);
    if (text !== monitors) {
      monitors = text;
      choice.replaceChildren(
        ...found.monitors.map(({ name }) => el("option", { value: name }, name.split("/").pop())),
      );
      choice.disabled = !found.monitors.length;
    }
  } catch (failure) {
    if (failure.name === "AbortError") throw failure; // else each part says so itself
  }
  const { monitor } = wanted();
  if ([...choice.options].some(({ value }) => value === monitor)) choice.value = monitor;
}

async function fill(place, part, monitor, once) {
  let children;
  let text;
  if (part.ofMonitor && !monitor) {
    text = "none";
    children = [notice("There is no monitor yet; MonitorService.CreateMonitor makes one.")];
  } else {
    try {
      const found = await once(part.path, part.ofMonitor ? { monitor } : {});
      text = JSON.stringify(found);
      children = text === place.shown ? [] : part.draw(found);
    } catch (failure) {
      if (failure.name === "AbortError") throw failure;
      text = failure.message;
      children = [el("h2", {}, part.title), notice(failure.message, "error")];
    }
  }
  if (text === place.shown) return;
  place.shown = text;
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : "";
  place.replaceChildren(...children);
  if (focused) place.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => go(tab.dataset.view, choice.value));
  tab.addEventListener("keydown", (press) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[press.key];
    if (to === undefined) return;
    press.preventDefault();
    const next = tabs.at(to % tabs.length);
    next.focus();
    next.click();
  });
});
choice.addEventListener("change", () => go(wanted().view, choice.value));
addEventListener("hashchange", show);
document.querySelector(".skip").addEventListener("click", (click) => {
  click.preventDefault(); // the fragment names the view
  panel.focus();
});

// Reads the view anew, once what is being read is there: the reading under way is not thrown away.
function refresh() {
  clearTimeout(gathering);
  gathering = setTimeout(() => (panel.ariaBusy === "true" ? refresh() : show()), GATHER_MS);
}

listen(
  (connected) => {
    live.classList.toggle("on", connected);
    live.textContent = connected ? "live" : "not connected; trying again";
    if (connected) refresh(); // for what happened before it was told of events
  },
  ({ type }) => {
    live.textContent = `live: ${words(type.split(".").slice(2).join(" "))}`;
    refresh();
  },
);
setInterval(show, REFRESH_MS);
show();
