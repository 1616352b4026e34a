/** What calls have cost and used: by day, stacked by key or model, and added up. */

import { get } from "./api.js";
import { count, h, money } from "./dom.js";
import { empty, failure } from "./parts.js";
import { plot } from "./plot.js";
import { METRICS, add, bars, daysInBar, daysOf, groups, sum } from "./usage-sums.js";

const SPANS = { 7: "7 days", 30: "30 days", 90: "90 days", 365: "Year" };
const GROUPINGS = { key: "Key", model: "Model" };
const DAY_MS = 86_400_000;

/** @param {HTMLElement} root @param {Record<string, string>} params by, since, until @returns {() => void} */
export function mount(root, params) {
  const view = new UsageView(root, params);
  return () => view.unmount();
}

class UsageView {
  #asked = new AbortController();
  /** @type {{destroy(): void}[]} */ #plots = [];
  #found = h("div", { class: "usage" });
  #by;
  #since = h("input", { id: "since", type: "date", required: true });
  #until = h("input", { id: "until", type: "date", required: true });

  /** @param {HTMLElement} root @param {Record<string, string>} params */
  constructor(root, params) {
    this.#by = (params.by ?? "").split(",").includes("model") ? "model" : "key";
    this.#until.value = params.until || today();
    this.#since.value = params.since || daysBefore(this.#until.value, 29);
    root.replaceChildren(h("div", { class: "head" }, h("h1", null, "Usage"), this.#form()), this.#found);
    this.#show();
  }

  unmount() {
    this.#asked.abort();
    this.#clear();
  }

  #form() {
    const spans = segments("span", "Time", SPANS, this.#span(), (days) => this.#last(Number(days)));
    const groupings = segments("by", "Stacked by", GROUPINGS, this.#by, (by) => {
      this.#by = by;
      this.#show();
    });
    const onDate = () => {
      for (const radio of spans.querySelectorAll("input")) radio.checked = radio.value === this.#span();
      if (this.#since.value && this.#until.value) this.#show();
    };
    return h("form", { class: "choices", onsubmit: (event) => event.preventDefault() },
      groupings, spans,
      h("div", { class: "dates", onchange: onDate },
        h("label", { class: "unseen", for: "since" }, "From"), this.#since, h("span", { "aria-hidden": "true" }, "–"),
        h("label", { class: "unseen", for: "until" }, "To"), this.#until));
  }

  /** @returns {string} how many days that end today are shown, if that is one of the spans */
  #span() {
    const days = daysOf(this.#since.value, this.#until.value).length;
    return this.#until.value === today() && days in SPANS ? String(days) : "";
  }

  /** @param {number} days */
  #last(days) {
    this.#until.value = today();
    this.#since.value = daysBefore(today(), days - 1);
    this.#show();
  }

  #clear() {
    for (const one of this.#plots) one.destroy();
    this.#plots = [];
    this.#found.replaceChildren();
  }

  async #show() {
    const [since, until] = [this.#since.value, this.#until.value];
    const address = new URLSearchParams({ by: this.#by, since, until });
    history.replaceState(null, "", `#/usage?${address}`);
    this.#asked.abort();
    this.#asked = new AbortController();
    const { signal } = this.#asked;
    try {
      const query = { by: `day,${this.#by}`, since: `${since}T00:00:00Z`, until: `${daysBefore(until, -1)}T00:00:00Z` };
      const { rows } = await get("usage", query, { signal });
      this.#clear();
      this.#draw(rows, daysOf(since, until));
    } catch (error) {
      if (signal.aborted) return;
      this.#clear();
      this.#found.append(failure(error, () => this.#show()));
    }
  }

  /** @param {any[]} rows @param {string[]} days */
  #draw(rows, days) {
    if (!rows.length) {
      this.#found.append(empty("Nothing was used in this time.", "Only calls that are kept count here: ", h("code", null, "recording.mode"), " of the relay’s settings."));
      return;
    }
    const found = groups(rows, this.#by);
    this.#found.append(h("div", { class: "charts" }, METRICS.map((metric) => this.#chart(metric, rows, found, days))));
    this.#found.append(...table(rows, found, GROUPINGS[this.#by], daysInBar(days)));
  }

  /** A card with the sum, and the days below. */
  #chart({ name, of, write }, rows, found, days) {
    const each = daysInBar(days);
    const card = h("section", { class: "sheet chart" },
      h("h2", null, name), h("p", { class: "total" }, write(sum(rows, of))));
    const drawn = plot(card, {
      label: `${name} by ${each === 1 ? "day" : "week"}`,
      x: days.filter((_, at) => at % each === 0).map((day) => Date.parse(day) / 1000),
      xUnit: "day",
      series: found.stacked.map(({ label, members, colour }) => ({ label, colour, kind: "bar", values: bars(members, days, of) })),
      format: write,
      height: 170,
    });
    this.#plots.push(drawn);
    return card;
  }
}

// -- the table

const COLUMNS = [
  { name: "Calls", of: (row) => row.calls, write: count },
  { name: "Minutes", of: (row) => row.duration_s / 60, write: (n) => count(Math.round(n)) },
  { name: "Tokens in", of: (row) => add(row.tokens.input), write: count },
  { name: "of it cached", of: (row) => add(row.tokens.cached), write: count },
  { name: "Tokens out", of: (row) => add(row.tokens.output), write: count },
  { name: "Cost", of: (row) => row.cost_usd, write: money },
];

/** @param {any[]} rows @param {any} found @param {string} grouping @param {number} each days in a bar */
function table(rows, found, grouping, each) {
  const line = (title, members) => h("tr", null, h("th", { scope: "row" }, title), COLUMNS.map(({ of, write }) => h("td", null, write(sum(members, of)))));
  const unpriced = sum(rows, (row) => row.unpriced_tokens) + sum(rows, (row) => row.unpriced_seconds);
  return [
    h("div", { class: "sheet sums", tabindex: "0", role: "region", "aria-label": "Sums" },
      h("table", null,
        h("thead", null, h("tr", null, h("th", { scope: "col" }, grouping), COLUMNS.map(({ name }) => h("th", { scope: "col" }, name)))),
        h("tbody", null, found.all.map(({ label, members }) => line(label, members))),
        h("tfoot", null, line("All", rows)))),
    h("p", { class: "hint" }, each > 1 && "Each bar is a week from the day it stands at. ", "Days are UTC’s, of calls that are kept. Costs are reckoned from the relay’s price table.",
      unpriced > 0 && ` For ${count(sum(rows, (row) => row.unpriced_tokens))} tokens it has no price: they are not in the cost.`,
      rows.some((row) => row.approximate) && " Some are approximate."),
  ];
}

// -- choices

/** Radio buttons in a row. */
function segments(name, legend, choices, chosen, onChoice) {
  return h("fieldset", { class: "segments", onchange: (event) => onChoice(event.target.value) },
    h("legend", { class: "unseen" }, legend),
    Object.entries(choices).map(([value, label]) =>
      h("label", null, h("input", { type: "radio", name, value, checked: value === chosen }), h("span", null, label))));
}

function today() {
  return new Date().toISOString().slice(0, 10);
}

/** @param {string} day @param {number} days */
function daysBefore(day, days) {
  return new Date(Date.parse(day) - days * DAY_MS).toISOString().slice(0, 10);
}
