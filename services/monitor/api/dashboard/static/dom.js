// Builds elements. Text only ever becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function notice(text, kind = "") {
  return el("p", { class: `notice ${kind}`, role: kind === "error" ? "alert" : undefined }, text);
}

const GOOD = new Set(["PROMOTED", "TRIGGERED", "SUCCEEDED", "RESOLVED"]);
const BAD = new Set(["FAILED", "ROLLED_BACK", "DATA_FAULT", "CONCEPT_DRIFT", "PAGE"]);

export function state(value) {
  const kind = GOOD.has(value) ? "good" : BAD.has(value) ? "bad" : "warn";
  return el("span", { class: `state ${kind}` }, words(value));
}

export function counted(number, singular) {
  return `${number} ${singular}${number === 1 ? "" : "s"}`;
}

export function words(value) {
  return value.toLowerCase().replaceAll("_", " ");
}

export function shortName(name) {
  return name.split("/").slice(-2).join("/");
}

export function time(iso) {
  if (!iso) return el("span", { class: "faint" }, "time unknown");
  return el("time", { datetime: iso, title: iso }, iso.slice(0, 16).replace("T", " "));
}

// `columns` are [heading, cell of a row, class]; headings of numbers stand right as they do.
export function table(caption, columns, rows) {
  const head = columns.map(([heading, , kind]) => el("th", { scope: "col", class: kind }, heading));
  const body = rows.map((row) =>
    el("tr", {}, columns.map(([, cell, kind]) => el("td", { class: kind }, cell(row)))),
  );
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)),
  );
}
