/** The few lines that save writing `document.createElement` everywhere, and how figures are written. */

/** @param {string} id @returns {any} the element; a page without it is broken */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`#${id} is not in the page`);
  return element;
}

/**
 * An element. Text goes in as text, never as markup: what comes from a model cannot become a script.
 *
 * @param {string} tag
 * @param {string} [className]
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** @param {number | null} ms @returns {string} "0.62 s", "–" */
export function seconds(ms) {
  return ms === null ? "–" : `${(ms / 1000).toFixed(2)} s`;
}

/** @param {number} ms @returns {string} "1:05" */
export function clock(ms) {
  const whole = Math.max(0, Math.floor(ms / 1000));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
