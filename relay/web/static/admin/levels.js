/** How loud the live calls are, from the server, and the meters that show it. */

import { events } from "./api.js";
import { h } from "./dom.js";

const FLOOR_DB = -60;
const HOLD_MS = 1500;
const FALL_DB_S = 30;
const AGAIN_MS = 5000;

/**
 * Reads the levels of all live calls, five times a second, until it is closed.
 * @param {(calls: Record<string, {client: number | null, upstream: number | null}>) => void} onLevels in dBFS; null
 *   is silence
 * @returns {() => void} closes it
 */
export function levels(onLevels) {
  let close = () => {};
  let timer = 0;

  function open() {
    close = events("levels", {
      levels: ({ calls }) => onLevels(calls),
      closed: () => {
        onLevels({});
        timer = setTimeout(open, AGAIN_MS);
      },
    });
  }

  open();
  return () => {
    clearTimeout(timer);
    close();
  };
}

/** One voice's level, with the peak held for a moment. */
export class Meter {
  #peak = { db: FLOOR_DB, at: 0 };
  #drawn = { level: NaN, peak: NaN };
  #bar = h("span", { class: "bar" });
  #mark = h("span", { class: "peak" });
  /** @type {HTMLElement} */ element;

  /** @param {"client" | "upstream"} voice @param {string} label */
  constructor(voice, label) {
    this.element = h(
      "div",
      {
        class: `meter ${voice === "client" ? "you" : "them"}`,
        role: "meter",
        "aria-label": label,
        "aria-valuemin": FLOOR_DB,
        "aria-valuemax": 0,
      },
      this.#bar,
      this.#mark,
    );
    this.show(null);
  }

  /** @param {number | null | undefined} db dBFS; null is silence */
  show(db, now = performance.now()) {
    const level = Math.min(0, Math.max(FLOOR_DB, db ?? FLOOR_DB));
    const held = Math.max(0, now - this.#peak.at - HOLD_MS) / 1000;
    const fallen = Math.max(FLOOR_DB, this.#peak.db - FALL_DB_S * held);
    if (level >= fallen) this.#peak = { db: level, at: now };
    this.#draw(level, Math.max(level, fallen));
  }

  /** Only what has changed: of many calls most are silent. @param {number} level @param {number} peak */
  #draw(level, peak) {
    if (level === this.#drawn.level && peak === this.#drawn.peak) return;
    this.#drawn = { level, peak };
    this.#bar.style.setProperty("--level", share(level));
    this.#mark.style.setProperty("--level", share(peak));
    this.element.setAttribute("aria-valuenow", String(Math.round(level)));
    this.element.setAttribute("aria-valuetext", level > FLOOR_DB ? `${Math.round(level)} dBFS` : "silence");
  }
}

/** @param {number} db @returns {string} of the meter's width */
function share(db) {
  return String(Math.max(0, 1 - db / FLOOR_DB).toFixed(3));
}
