/** A list of any length of which only what is to be seen is in the document. Rows have one height. */

import { h } from "../dom.js";

const SPARE = 8; // rows above and below
const MOST_PX = 8_000_000; // browsers clip what is taller: 250,000 rows

/** @typedef {{count: number, ended: boolean, row(index: number): any, need(from: number, to: number): Promise<boolean>}} Source */

export class VirtualList {
  #source;
  #make;
  #pick;
  #rowPx;
  #selected = -1;
  #shown = "";
  #failed;
  #spacer = h("div", { class: "spacer", role: "presentation" });
  #window = h("div", { class: "window", role: "presentation" });
  element;

  /**
   * @param {{label: string, rowPx: number, make(row: any, index: number): HTMLElement, pick(row: any): void, failed(error: any): void}} options
   */
  constructor({ label, rowPx, make, pick, failed }) {
    this.#make = make;
    this.#pick = pick;
    this.#failed = failed;
    this.#rowPx = rowPx;
    /** @type {Source | null} */ this.#source = null;
    this.element = h(
      "div",
      { class: "virtual", role: "listbox", tabindex: "0", "aria-label": label },
      this.#spacer,
      this.#window,
    );
    this.element.addEventListener("scroll", () => this.#draw());
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#onKey(event));
    this.resized = new ResizeObserver(() => this.#draw());
    this.resized.observe(this.element);
  }

  /** @param {Source} source */
  show(source) {
    this.#source = source;
    this.#selected = -1;
    this.element.scrollTop = 0;
    this.refresh();
  }

  /** The source has changed. @param {boolean} [toEnd] keeps a reader who is there at the end */
  refresh(toEnd = false) {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    const atEnd = scrollHeight - scrollTop - clientHeight < 2 * this.#rowPx;
    this.#shown = "";
    this.#spacer.style.height = `${Math.min(MOST_PX, (this.#source?.count ?? 0) * this.#rowPx)}px`;
    if (toEnd && atEnd) this.element.scrollTop = this.element.scrollHeight;
    this.#draw();
  }

  /** @param {number} index is shown in the middle */
  reveal(index) {
    this.element.scrollTop = index * this.#rowPx - this.element.clientHeight / 2;
  }

  destroy() {
    this.resized.disconnect();
    this.#source = null;
  }

  async #draw() {
    const source = this.#source;
    if (!source) return;
    const first = Math.max(0, Math.floor(this.element.scrollTop / this.#rowPx) - SPARE);
    const last = Math.min(
      source.count - 1,
      Math.ceil((this.element.scrollTop + this.element.clientHeight) / this.#rowPx) + SPARE,
    );
    this.#fill(source, first, last);
    try {
      const came = await source.need(first, Math.max(first, last));
      if (came && source === this.#source) this.refresh();
    } catch (error) {
      if (source === this.#source) this.#failed(error);
    }
  }

  /** @param {Source} source @param {number} first @param {number} last */
  #fill(source, first, last) {
    const shown = `${first} ${last} ${this.#selected}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const rows = [];
    for (let index = first; index <= last; index += 1) rows.push(this.#rowAt(source, index));
    this.#window.style.transform = `translateY(${first * this.#rowPx}px)`;
    this.#window.replaceChildren(...rows);
    this.element.setAttribute("aria-activedescendant", this.#selected >= 0 ? rowId(this.#selected) : "");
  }

  /** @param {Source} source @param {number} index */
  #rowAt(source, index) {
    const row = source.row(index);
    const element = row === undefined ? h("div", { class: "row coming" }, "…") : this.#make(row, index);
    element.id = rowId(index);
    element.setAttribute("role", "option");
    element.setAttribute("aria-selected", String(index === this.#selected));
    element.addEventListener("click", () => this.#select(index));
    return element;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.#rowPx) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || !this.#source?.count) return;
    event.preventDefault();
    event.stopPropagation(); // the page's own arrows move the player
    this.#select(Math.max(0, Math.min(this.#source.count - 1, this.#selected + step)));
  }

  /** @param {number} index */
  #select(index) {
    this.#selected = index;
    const top = index * this.#rowPx;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.#rowPx > scrollTop + clientHeight) this.element.scrollTop = top + this.#rowPx - clientHeight;
    this.#shown = "";
    this.#draw();
    const row = this.#source?.row(index);
    if (row !== undefined) this.#pick(row);
  }
}

/** @param {number} index */
function rowId(index) {
  return `event-${index}`;
}
