/** How well both paths were, over time, and the relay's own share. */

import { clock, count, h } from "../dom.js";
import { plot } from "../plot.js";

const COLOURS = { client: "--you", upstream: "--them" };
const LEGS = ["client", "upstream"];

export class QualityView {
  #seek;
  /** @type {{update(changed: any): void, destroy(): void}[]} */ #plots = [];
  element = h("div", { class: "panel quality" });

  /** @param {(at: number) => void} seek seconds */
  constructor(seek) {
    this.#seek = seek;
  }

  /** @param {any} session */
  show({ quality }) {
    this.destroy();
    const legs = quality?.legs ?? {};
    if (!LEGS.some((leg) => legs[leg]?.points?.at_ms?.length)) {
      this.element.replaceChildren(
        h("p", { class: "hint" }, "No samples: the call was too short."),
        ...this.#rest(quality, legs),
      );
      return;
    }
    this.element.replaceChildren();
    this.#plot("Round trip", "ms", legs, (points) => points.round_trip_ms);
    this.#plot("Jitter", "ms", legs, (points) => points.jitter_ms);
    this.#plot("Lost on the way to the relay", "%", legs, (points) =>
      points.at_ms.map((_, n) => share(points.lost[n], points.received[n] + points.lost[n])),
    );
    this.#plot("Lost on the way from the relay, packets", "", legs, (points) => points.remote_lost);
    this.element.append(...this.#rest(quality, legs));
  }

  destroy() {
    for (const drawn of this.#plots) drawn.destroy();
    this.#plots = [];
  }

  /** @param {string} title @param {string} unit @param {any} legs @param {(points: any) => (number | null)[]} values */
  #plot(title, unit, legs, values) {
    const { x, series } = joined(legs, values);
    if (!series.some((one) => one.values.some((value) => value !== null))) return;
    const root = h("div", { class: "figure" }, h("h3", null, title));
    this.element.append(root);
    this.#plots.push(plot(root, { label: title, x, xUnit: "s", unit, series, height: 110, onpick: this.#seek }));
  }

  /** @param {any} quality @param {any} legs */
  #rest(quality, legs) {
    return [addedLatency(quality?.added_latency_ms), pairs(legs)].filter(Boolean);
  }
}

/**
 * Both legs' points on one clock. They are sampled in one go, so the nearest moments belong together.
 *
 * @param {any} legs @param {(points: any) => (number | null)[]} values
 */
export function joined(legs, values) {
  const known = LEGS.filter((leg) => legs[leg]?.points?.at_ms?.length);
  const longest = known.reduce((a, b) => (legs[b].points.at_ms.length > legs[a].points.at_ms.length ? b : a));
  const x = legs[longest].points.at_ms;
  const series = known.map((leg) => {
    const { points } = legs[leg];
    const found = values(points);
    const aligned = new Array(x.length).fill(null);
    for (const [n, at] of points.at_ms.entries()) aligned[nearest(x, at)] = found[n];
    return { label: leg, colour: COLOURS[leg], kind: "line", values: aligned };
  });
  return { x: x.map((/** @type {number} */ ms) => ms / 1000), series };
}

/** @param {number[]} sorted not empty @param {number} value @returns {number} the index of what is nearest to it */
function nearest(sorted, value) {
  let low = 0;
  let high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value - sorted[low - 1] < sorted[low] - value ? low - 1 : low;
}

/** @param {number} part @param {number} whole */
function share(part, whole) {
  return whole > 0 ? (100 * part) / whole : null;
}

/** @param {any} told `added_latency_ms` */
function addedLatency(told) {
  if (!told?.count) return null;
  const buckets = Object.entries(told.buckets ?? {});
  const most = Math.max(1, ...buckets.map(([, n]) => n));
  const used = buckets.slice(0, 1 + buckets.reduce((last, [, n], at) => (n ? at : last), 0));
  return h(
    "div",
    { class: "figure" },
    h("h3", null, "Added by the relay itself"),
    h(
      "p",
      { class: "hint" },
      `${count(told.count)} packets timed: half within ${told.p50} ms, 99 % within ${told.p99} ms, at most ${told.max} ms`,
    ),
    h(
      "dl",
      { class: "phases" },
      used.map(([bound, n]) => [
        h("dt", null, bound === "inf" ? "longer" : `up to ${bound} ms`),
        h("dd", null, meter(n / most), h("span", null, count(n))),
      ]),
    ),
  );
}

/** @param {number} part */
function meter(part) {
  const bar = h("i", { class: "made" });
  bar.style.width = `${100 * part}%`;
  return h("div", { class: "strip" }, bar);
}

/** @param {any} legs */
function pairs(legs) {
  const rows = LEGS.flatMap((leg) =>
    (legs[leg]?.pairs ?? []).map((/** @type {any} */ pair) => ({ leg, ...pair })),
  ).sort((a, b) => a.at_ms - b.at_ms);
  if (rows.length === 0) return null;
  return h(
    "div",
    { class: "figure" },
    h("h3", null, "Candidate pairs"),
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          ["From", "Leg", "Pair"].map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map(({ leg, at_ms, pair }) =>
          h(
            "tr",
            null,
            h("td", null, clock(at_ms)),
            h("td", { class: leg }, leg),
            h("td", null, h("code", null, pair)),
          ),
        ),
      ),
    ),
  );
}
