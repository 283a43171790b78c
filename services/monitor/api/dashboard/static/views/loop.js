// What serves, why, and what is happening now.

import { el, notice, shortName, state, table, time, words } from "../dom.js";

export const parts = [
  { title: "Happening now", path: "loop", ofMonitor: true, draw: drawNow },
  { title: "What serves, and why", path: "explanation", ofMonitor: true, draw: drawCauses },
  { title: "Earlier episodes", path: "loop", ofMonitor: true, draw: drawEarlier },
];

function drawNow({ way, episodes }) {
  const active = episodes.filter((episode) => !episode.is_over);
  if (!active.length) {
    return [el("h2", {}, "Happening now"), notice("No episode is under way.")];
  }
  return [el("h2", {}, "Happening now"), ...active.map((episode) => drawWay(way, episode))];
}

function drawWay(way, episode) {
  const reached = way.indexOf(episode.state);
  const steps = way.map((step, i) => {
    const place = i < reached ? "done" : i === reached ? "here" : "";
    return el("li", { class: place, "aria-current": i === reached ? "step" : undefined }, words(step));
  });
  return el(
    "article",
    {},
    el("p", {}, el("span", { class: "name" }, shortName(episode.name)), " since ", time(episode.create_time)),
    el("ol", { class: "way", "aria-label": "Steps of the episode" }, steps),
    ...["candidate", "approval", "rollout"]
      .filter((what) => episode[what])
      .map((what) => el("p", {}, `${what}: `, el("span", { class: "name" }, episode[what]))),
    episode.message ? el("p", {}, episode.message) : null,
  );
}

function drawCauses(root) {
  return [
    el("h2", {}, "What serves, and why"),
    el("ul", { class: "causes", "aria-label": "Causes, each below what it caused" }, drawCause(root)),
  ];
}

function drawCause(cause) {
  const below = cause.causes.map(drawCause);
  return el(
    "li",
    {},
    el("span", { class: "kind" }, words(cause.kind)),
    " ",
    el("span", { class: "name", title: cause.name }, shortName(cause.name)),
    cause.time ? el("span", { class: "faint" }, " · ", time(cause.time)) : null,
    el("p", {}, cause.summary),
    below.length ? el("ul", {}, below) : null,
  );
}

function drawEarlier({ episodes }) {
  const over = episodes.filter((episode) => episode.is_over);
  const heading = el("h2", {}, "Earlier episodes");
  if (!over.length) return [heading, notice("No episode has ended yet.")];
  const columns = [
    ["data up to", (episode) => time(episode.event_time)],
    ["end", (episode) => state(episode.state)],
    ["what happened", (episode) => episode.message || "–", "words"],
    ["candidate", (episode) => (episode.candidate ? shortName(episode.candidate) : "–")],
  ];
  return [heading, table("Earlier episodes", columns, over)];
}
