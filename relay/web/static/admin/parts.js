/** Small parts that several views have. */

import { h, icon } from "./dom.js";

/**
 * What went wrong, and what to do about it.
 * @param {any} error @param {(() => void) | null} [again] a button does it @returns {HTMLElement}
 */
export function failure(error, again) {
  const retry = h("button", { type: "button", onclick: again }, "Try again");
  const back = h("a", { class: "button", href: "#/sessions" }, "All calls");
  const out = error?.status === 404 ? back : again && retry; // what is not there will not be there again
  return h("div", { class: "empty failed", role: "alert" }, h("p", null, explain(error)), out);
}

/** @param {any} error @returns {string} */
export function explain(error) {
  if (error?.name === "ApiError") return error.message;
  console.warn(error);
  return `This could not be shown: ${error?.message ?? error}`;
}

/** An empty state: what would be here. @param {string} title @param {...any} children @returns {HTMLElement} */
export function empty(title, ...children) {
  return h("div", { class: "empty" }, h("h2", null, title), children);
}

/**
 * Asks before something that cannot be undone. Escape is no.
 * @param {{title: string, text: string, action: string}} question @returns {Promise<boolean>}
 */
export function confirmed({ title, text, action }) {
  const dialog = h(
    "dialog",
    { class: "sheet ask", "aria-labelledby": "ask-title", "aria-describedby": "ask-text" },
    h("form", { method: "dialog" },
      h("h2", { id: "ask-title" }, title),
      h("p", { id: "ask-text" }, text),
      h("div", { class: "actions" },
        h("button", { value: "no", autofocus: true }, "Cancel"),
        h("button", { value: "yes", class: "danger solid" }, action),
      ),
    ),
  );
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A dialog that tells something; resolves once it is closed. @param {string} title @param {...any} children @returns {Promise<void>} */
export function tell(title, ...children) {
  const close = h("button", { class: "quiet icon", "aria-label": "Close" }, icon("close"));
  const dialog = h(
    "dialog",
    { class: "sheet told", "aria-labelledby": "told-title" },
    h("form", { method: "dialog" }, h("h2", { id: "told-title" }, title), close),
    children,
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      done();
    });
  });
}

/**
 * Up and down, Home and End move between the rows of a list, from whatever has the focus in one to the next one's link.
 * @param {HTMLElement} list @param {string} [rows] what is a row
 */
export function arrows(list, rows = "li") {
  list.addEventListener("keydown", (event) => {
    const items = /** @type {HTMLElement[]} */ ([...list.querySelectorAll(rows)]);
    const here = items.findIndex((item) => item.contains(document.activeElement));
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined || here < 0 || !items[to]) return;
    event.preventDefault();
    items[to].querySelector("a")?.focus();
  });
}
