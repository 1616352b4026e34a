/** The event log: what went over the data channel, both ways, newest last, the last 500. */

import { make, Tail } from "./dom.js";

const MAX_ROWS = 500;
const MAX_TEXT = 20_000; // characters of one event: a retrieved item may carry minutes of audio in base64

/** @typedef {{type: string, [field: string]: any}} Event */
/** @typedef {{item: HTMLElement, type: string, text: string}} Row */

export class EventLog {
  #list;
  #tail;
  #count;
  #filter;
  #deltas;
  /** @type {Row[]} */ #rows = [];
  #total = 0;

  /** @param {HTMLElement} list @param {HTMLElement} count @param {HTMLInputElement} filter @param {HTMLInputElement} deltas */
  constructor(list, count, filter, deltas) {
    this.#list = list;
    this.#tail = new Tail(list);
    this.#count = count;
    this.#filter = filter;
    this.#deltas = deltas;
    for (const control of [filter, deltas]) control.addEventListener("input", () => this.#refilter());
  }

  clear() {
    this.#rows = [];
    this.#total = 0;
    this.#list.replaceChildren();
    this.#tell();
  }

  /** @param {"sent" | "received"} way @param {Event} event @param {number} at ms since the call's start */
  add(way, event, at) {
    const text = JSON.stringify(event, null, 2);
    const shown = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}\n… ${text.length - MAX_TEXT} characters more` : text;
    const row = { item: makeItem(way, event.type, shown, at), type: event.type, text: shown.toLowerCase() };
    this.#tail.look();
    row.item.hidden = !this.#matches(row);
    this.#rows.push(row);
    this.#total += 1;
    this.#list.append(row.item);
    if (this.#rows.length > MAX_ROWS) this.#rows.shift()?.item.remove();
    this.#tail.settle();
    this.#tell();
  }

  /** @param {Row} row */
  #matches({ type, text }) {
    if (type.endsWith(".delta") && !this.#deltas.checked) return false;
    return text.includes(this.#filter.value.trim().toLowerCase());
  }

  #refilter() {
    for (const row of this.#rows) row.item.hidden = !this.#matches(row);
    this.#tell();
  }

  #tell() {
    const shown = this.#rows.filter(({ item }) => !item.hidden).length;
    const dropped = this.#total - this.#rows.length;
    this.#count.textContent = `${shown} of ${this.#rows.length} shown${dropped > 0 ? `, ${dropped} older ones dropped` : ""}`;
  }
}

/** @param {"sent" | "received"} way @param {string} type @param {string} text @param {number} at */
function makeItem(way, type, text, at) {
  const arrow = make("span", `way ${way}`, way === "sent" ? "↑" : "↓");
  arrow.title = way;
  const time = make("time", "", (at / 1000).toFixed(2));
  const name = make("code", "", ...type.split(/(?<=[._])/).flatMap((part) => [part, make("wbr")]));
  const details = make("details", "", make("summary", "", time, arrow, name));
  // Most events are never opened: their text is laid out when they are.
  const open = () => {
    const json = make("pre", "", text);
    details.append(json);
    json.scrollIntoView({ block: "nearest" });
  };
  details.addEventListener("toggle", open, { once: true });
  return make("li", type === "error" ? "error" : "", details);
}
