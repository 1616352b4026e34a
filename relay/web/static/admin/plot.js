/**
 * Lines and bars over time: one thin wrapper over uPlot (vendor/uplot).
 *
 *     const quality = plot(root, {
 *       label: "Round trip",
 *       x: [0, 5, 10], xUnit: "s",
 *       series: [{ label: "client", values: [12, 14, null], colour: "--you", kind: "line" }],
 *       unit: "ms",
 *     });
 *     quality.update({ x, series });
 *     quality.destroy();
 *
 * It follows the theme and its root's width. Pointer and arrow keys move along the time, with the values there beside
 * them; all of them are in a table below.
 */

import { clock, h } from "./dom.js";
import uPlot from "./vendor/uplot/uPlot.esm.js";

/**
 * @typedef {object} Series
 * @property {string} label
 * @property {(number | null)[]} values one for each of `x`; null is a gap
 * @property {string} [colour] a custom property of style.css; default: the next of --plot-1 to --plot-6
 * @property {"line" | "bar"} [kind] all bars at one place are stacked, the first lowest; default: line
 */

/**
 * @typedef {object} PlotOptions
 * @property {number[]} x ascending: seconds
 * @property {"s" | "day"} xUnit `s`: seconds into the call; `day`: since 1970, of the beginnings of days (UTC)
 * @property {Series[]} series
 * @property {string} [unit] stands behind each value
 * @property {(value: number) => string} [format] a value with its unit, instead of `unit`
 * @property {string} [label] what is plotted, for who does not see it
 * @property {number} [height] in pixels; default 160
 * @property {boolean} [table] all values as a table below; default true. False where the page has one anyway
 * @property {(at: number) => void} [onpick] a click, or Enter: the time there
 */

/**
 * @param {HTMLElement} root @param {PlotOptions} options
 * @returns {{update(changed: Partial<PlotOptions>): void, destroy(): void}}
 */
export function plot(root, options) {
  const drawn = new Plot(root, options);
  return { update: (changed) => drawn.update(changed), destroy: () => drawn.destroy() };
}

class Plot {
  #options;
  /** @type {any} */ #chart = null;
  /** @type {number[][]} */ #tops = [];
  #canvas = h("div", { class: "canvas", tabindex: "0", role: "img", onkeydown: (event) => this.#onKey(event), onblur: () => this.#putCursor(null) });
  #tip = h("div", { class: "tip", hidden: true, "aria-hidden": "true" });
  #legend = h("ul", { class: "legend" });
  #table = h("div", { class: "values", tabindex: "0" });
  #details = h("details", { ontoggle: () => this.#fillTable() }, h("summary", null, "Values"), this.#table);
  #element = h("div", { class: "plot" }, this.#legend, this.#canvas, this.#tip, this.#details);
  #onTheme = () => this.#draw();
  #resized = new ResizeObserver(() => this.#resize());

  /** @param {HTMLElement} root @param {PlotOptions} options */
  constructor(root, options) {
    this.#options = options;
    root.append(this.#element);
    this.#details.hidden = options.table === false;
    document.addEventListener("themechange", this.#onTheme);
    this.#draw();
    this.#resized.observe(this.#element);
  }

  /** @param {Partial<PlotOptions>} changed */
  update(changed) {
    const before = shape(this.#options);
    this.#options = { ...this.#options, ...changed };
    if (shape(this.#options) !== before) this.#draw();
    else {
      this.#chart.setData(this.#data());
      this.#describe();
      this.#fillTable();
    }
  }

  destroy() {
    document.removeEventListener("themechange", this.#onTheme);
    this.#resized.disconnect();
    this.#chart?.destroy();
    this.#element.remove();
  }

  #draw() {
    this.#chart?.destroy();
    this.#chart = new uPlot(this.#chartOptions(), this.#data(), this.#canvas);
    this.#drawLegend();
    this.#describe();
    this.#fillTable();
  }

  #resize() {
    const width = this.#element.clientWidth;
    if (width > 0 && width !== this.#chart.width) this.#chart.setSize({ width, height: this.#height });
  }

  get #height() {
    return this.#options.height ?? 160;
  }

  // -- what uPlot is told

  /** Bars are drawn as tall as all that is stacked below them, the tallest first. */
  #data() {
    const { x, series } = this.#options;
    const sums = x.map(() => 0);
    this.#tops = series.map(({ values, kind }) =>
      kind === "bar" ? values.map((value, at) => (sums[at] += value ?? 0)) : values,
    );
    return [x, ...[...this.#tops].reverse()];
  }

  #chartOptions() {
    const { series, xUnit } = this.#options;
    const axis = { stroke: colour("--soft"), font: `12px ${colour("--sans")}`, ticks: { show: false } };
    const grid = { stroke: colour("--rule"), width: 1 };
    const lines = series.map((one, at) => this.#line(one, at)).reverse();
    return {
      width: this.#element.clientWidth || 300,
      height: this.#height,
      legend: { show: false },
      padding: [8, 8, 0, 0],
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false }, bind: { click: this.#onClick } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: { time: xUnit === "day", range: (_chart, from, to) => this.#span(from, to) },
        y: { range: (_chart, _from, to) => [0, to > 0 ? to * 1.08 : 1] },
      },
      axes: [
        { ...axis, size: 30, gap: 8, grid: { show: false }, space: 70, ...this.#xTicks() },
        { ...axis, size: (_chart, labels) => widest(labels), gap: 6, grid, space: 32, values: (_chart, ticks) => ticks.map((tick) => this.#write(tick)) },
      ],
      series: [{}, ...lines],
      hooks: { setCursor: [() => this.#fillTip()] },
    };
  }

  #xTicks() {
    if (this.#options.xUnit === "s") return { values: (_chart, ticks) => ticks.map((at) => clock(at * 1000)), incrs: SECONDS };
    return { values: (_chart, ticks) => ticks.map((at) => DAY.format(at * 1000)), incrs: DAYS };
  }

  /** Half a bar more on both sides, so that the first and the last are whole. */
  #span(from, to) {
    const [first = 0, second = first + DAY_S] = this.#options.x;
    const room = 0.6 * (second - first);
    if (this.#options.xUnit === "day") return [from - room, to + room];
    return from === to ? [from, from + 1] : [from, to];
  }

  /** @param {Series} series @param {number} at */
  #line({ label, colour: name, kind }, at) {
    const stroke = colour(name ?? `--plot-${(at % 6) + 1}`);
    if (kind === "bar") {
      const paths = uPlot.paths.bars({ size: [0.72, 44], radius: 0 });
      return { label, paths, fill: stroke, width: 0, points: { show: false } };
    }
    return { label, stroke, width: 1.5, points: { show: this.#options.x.length < 3, size: 5, fill: stroke } };
  }

  // -- what stands beside it

  #drawLegend() {
    this.#legend.replaceChildren(
      ...this.#options.series.map(({ label, colour: name }, at) => {
        const swatch = h("span", { class: "swatch" });
        swatch.style.background = `var(${name ?? `--plot-${(at % 6) + 1}`})`;
        return h("li", null, swatch, label);
      }),
    );
  }

  /** The values at the cursor, beside it. */
  #fillTip() {
    const at = this.#chart?.cursor.idx;
    const { series, x } = this.#options;
    this.#tip.hidden = at == null || x[at] === undefined;
    if (this.#tip.hidden) return;
    const known = series.map((one, n) => ({ ...one, n })).filter(({ values, kind }) => values[at] != null && (kind !== "bar" || values[at] !== 0));
    const rows = known.map(({ values, n }) => {
      const swatch = this.#legend.children[n].firstChild?.cloneNode();
      return h("li", null, swatch, series[n].label, h("b", null, this.#write(values[at])));
    });
    this.#tip.replaceChildren(h("strong", null, this.#writeTime(x[at])), rows.length ? h("ul", null, rows) : "nothing");
    this.#placeTip(this.#chart.valToPos(x[at], "x") + this.#chart.over.offsetLeft);
  }

  /** @param {number} left where the cursor is, in pixels */
  #placeTip(left) {
    const after = left < this.#canvas.clientWidth / 2;
    this.#tip.style.top = `${this.#canvas.offsetTop + 8}px`;
    this.#tip.style.left = after ? `${left + 12}px` : "auto";
    this.#tip.style.right = after ? "auto" : `${this.#canvas.clientWidth - left + 12}px`;
  }

  #describe() {
    const { label = "Plot", series, x } = this.#options;
    const facts = series.map(({ label: name, values }) => {
      const known = values.filter((value) => value !== null);
      return known.length ? `${name} at most ${this.#write(known.reduce((a, b) => Math.max(a, b)))}` : `${name} nothing`;
    });
    const span = x.length ? `, ${this.#writeTime(x[0])} to ${this.#writeTime(x[x.length - 1])}` : "";
    this.#canvas.setAttribute("aria-label", `${label}${span}: ${facts.join(", ")}`);
  }

  #fillTable() {
    if (!this.#details.open) return; // an hour of values is a long table, for few
    const { series, x } = this.#options;
    const head = h("tr", null, h("th", null, "Time"), series.map(({ label }) => h("th", { scope: "col" }, label)));
    const rows = x.map((at, n) =>
      h("tr", null, h("th", { scope: "row" }, this.#writeTime(at)),
        series.map(({ values }) => h("td", null, values[n] == null ? "–" : this.#write(values[n])))),
    );
    this.#table.replaceChildren(h("table", null, h("thead", null, head), h("tbody", null, rows)));
  }

  /** @param {number} value */
  #write(value) {
    const { format, unit } = this.#options;
    if (format) return format(value);
    const digits = Math.abs(value) < 10 ? 1 : 0;
    const number = value.toLocaleString("en-US", { maximumFractionDigits: digits });
    return unit ? `${number} ${unit}` : number;
  }

  /** @param {number} at */
  #writeTime(at) {
    return this.#options.xUnit === "day" ? DAY.format(at * 1000) : clock(at * 1000);
  }

  // -- pointer and keyboard

  #onClick = (chart) => () => {
    const at = chart.cursor.idx;
    if (at != null) this.#options.onpick?.(this.#options.x[at]);
    return null;
  };

  /** @param {number | null} at a time; null takes the cursor away */
  #putCursor(at) {
    const left = at === null ? -10 : this.#chart.valToPos(at, "x");
    this.#chart.setCursor({ left, top: at === null ? -10 : 10 });
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const { x, onpick } = this.#options;
    const here = this.#chart.cursor.idx;
    if (event.key === "Enter" && here != null) onpick?.(x[here]);
    if (event.key === "Escape") this.#putCursor(null);
    const to = { ArrowRight: (here ?? -1) + 1, ArrowLeft: (here ?? x.length) - 1, Home: 0, End: x.length - 1 }[event.key];
    if (to === undefined || x[to] === undefined) return;
    event.preventDefault();
    this.#putCursor(x[to]);
    const told = this.#options.series.map(({ label, values }) => `${label} ${values[to] == null ? "nothing" : this.#write(values[to])}`);
    this.#canvas.setAttribute("aria-label", `${this.#writeTime(x[to])}: ${told.join(", ")}`);
  }
}

const DAY_S = 86_400;
const DAYS = [1, 2, 7, 14, 28, 91, 182, 364].map((days) => days * DAY_S);
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });

/** What cannot be changed in a chart that is there. @param {PlotOptions} options */
function shape({ series, xUnit, unit, height }) {
  return JSON.stringify([xUnit, unit, height, series.map(({ label, colour: name, kind }) => [label, name, kind])]);
}

/** A custom property of the page as it is now: canvases know no variables. @param {string} name */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The room for an axis' labels, in pixels. @param {string[] | null} labels */
function widest(labels) {
  return 14 + 7 * Math.max(3, ...(labels ?? []).map((label) => label.length));
}
