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

/** Whether the reader has marked some of an element's text. @param {HTMLElement} element @returns {boolean} */
export function isMarkedIn(element) {
  const marked = getSelection();
  return marked !== null && !marked.isCollapsed && marked.containsNode(element, true);
}

/**
 * Fills a list anew whose rows have `data-id`; the focus stays in the row and on the link or button where it was.
 * @param {HTMLElement} list @param {() => void} fill
 */
export function keepFocus(list, fill) {
  const focused = document.activeElement;
  const row = /** @type {HTMLElement | null} */ (focused?.closest("[data-id]"));
  const at = row && list.contains(row) ? targets(row).indexOf(focused) : -1;
  fill();
  if (row === null || at < 0) return;
  const now = list.querySelector(`[data-id="${CSS.escape(row.dataset.id)}"]`);
  if (now) targets(now)[at]?.focus({ preventScroll: true });
}

/** @param {Element} row @returns {any[]} */
function targets(row) {
  return [...row.querySelectorAll("a, button")];
}
