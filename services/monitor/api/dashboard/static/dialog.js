// A dialog over the page, filled once what it shows has been read.

import { el, notice } from "./dom.js";

// `read` gives what to show, or a promise of it.
export async function openDialog(title, read) {
  const place = el("div", {}, notice("Reading …"));
  const dialog = el(
    "dialog",
    { "aria-label": title, close: () => dialog.remove() },
    el(
      "header",
      {},
      el("h2", {}, title),
      el("button", { type: "button", click: () => dialog.close() }, "Close"),
    ),
    place,
  );
  document.body.append(dialog);
  dialog.showModal();
  try {
    const children = await read();
    place.replaceChildren(...children.filter((child) => child !== null));
  } catch (failure) {
    place.replaceChildren(notice(failure.message, "error"));
  }
}
