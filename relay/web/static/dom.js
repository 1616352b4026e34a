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

/** Keeps a scrolling list at its newest entry, for as long as the reader is there and not further up. */
export class Tail {
  #element;
  #following = true;

  /** @param {HTMLElement} element what scrolls */
  constructor(element) {
    this.#element = element;
    new ResizeObserver(() => this.settle()).observe(element); // it may have been filled while it was hidden
  }

  /** Call it before the list changes. */
  look() {
    const { scrollHeight, scrollTop, clientHeight } = this.#element;
    if (clientHeight > 0) this.#following = scrollHeight - scrollTop - clientHeight < 40;
  }

  /** Call it after the list has changed. */
  settle() {
    if (this.#following) this.#element.scrollTop = this.#element.scrollHeight;
  }
}
