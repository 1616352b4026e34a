/** Elements, and how figures are written. */

/**
 * An element. Text goes in as text nodes alone: what comes from a model cannot become markup.
 *
 * @param {string} tag
 * @param {Record<string, any> | null} [attributes] `onclick` and the like are listeners, `dataset` an object; true is
 *   an empty attribute; false, null and undefined are none
 * @param {...any} children nodes, text, numbers, arrays of them; null, undefined and false are nothing
 * @returns {any}
 */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name a symbol of index.html, without `i-` @returns {SVGElement} */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Says something to who cannot see it. @param {string} text */
export function say(text) {
  const said = document.getElementById("said");
  if (said) said.textContent = text;
}

/** @param {number | null | undefined} ms @returns {string} "1:05", "1:02:05", "–" */
export function clock(ms) {
  if (ms === null || ms === undefined) return "–";
  const whole = Math.max(0, Math.floor(ms / 1000));
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const padded = String(seconds).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${minutes}:${padded}`;
}

const LOCALE = undefined; // the reader's own
const TODAY = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const DATE = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const YEAR = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short" });
const EXACT = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "long" });

/** A moment, as short as it is clear; all of it on hover. @param {string | null} iso @returns {HTMLElement} */
export function when(iso) {
  if (!iso) return h("span", null, "–");
  const at = new Date(iso);
  return h("time", { datetime: iso, title: EXACT.format(at) }, shortly(at));
}

/** @param {Date} at @returns {string} */
function shortly(at) {
  const now = new Date();
  if (at.toDateString() === now.toDateString()) return TODAY.format(at);
  return (at.getFullYear() === now.getFullYear() ? DATE : YEAR).format(at);
}

/** @param {number | null | undefined} usd @returns {string} "$1.25", "$0.042", "$0.0042", "–" */
export function money(usd) {
  if (usd === null || usd === undefined) return "–";
  const digits = usd === 0 || usd >= 0.1 ? 2 : usd >= 0.01 ? 3 : 4;
  return usd.toLocaleString("en-US", {
    style: "currency",
    currency: "USD",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

const SIZES = ["B", "kB", "MB", "GB", "TB"];

/** @param {number | null | undefined} bytes @returns {string} "1.2 MB" */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const power = Math.min(SIZES.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  const value = bytes / 1000 ** power;
  return `${power && value < 10 ? value.toFixed(1) : Math.round(value)} ${SIZES[power]}`;
}

/** @param {number | null | undefined} n @returns {string} "12,345" */
export function count(n) {
  return n === null || n === undefined ? "–" : n.toLocaleString("en-US");
}

/** "1 turn", "2 turns". @param {number} n @param {string} one @param {string} [many] */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}
