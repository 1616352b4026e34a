/** What the call used and what it costs, by model and by response. */

import { get } from "../api.js";
import { clock, count, h, money } from "../dom.js";
import { explain } from "../parts.js";
import { responseUsed, usedOf } from "./tokens.js";

const PAGE = 500;
const MAX_RESPONSES = 2000;
const KINDS = { response: "Responses", transcription: "Transcription", session: "Session time" };
const TOKENS = ["Text in", "Audio in", "Cached", "Text out", "Audio out"];

export class CostView {
  #path;
  #startedAt;
  #seek;
  #loaded = false;
  #total = h("div", { class: "totals" });
  #responses = h("div", { class: "figure" });
  element = h("div", { class: "panel spending" }, this.#total, this.#responses);

  /** @param {any} session @param {(at: number) => void} seek seconds */
  constructor({ id, started_at }, seek) {
    this.#path = `sessions/${encodeURIComponent(id)}/events`;
    this.#startedAt = Date.parse(started_at);
    this.#seek = seek;
  }

  /** @param {any} session */
  show({ usage }) {
    const lines = usage?.lines ?? [];
    if (lines.length === 0) {
      this.#total.replaceChildren(h("p", { class: "hint" }, "Nothing was used that the upstream told of."));
      return;
    }
    const total = [h("td", null, "Total"), usage.count ?? "", ...figures(usedOf(usage.tokens)), money(usage.cost_usd)];
    this.#total.replaceChildren(
      table(
        ["", "Count", ...TOKENS, "Cost"],
        lines.map((/** @type {any} */ line) => [
          name(line),
          count(line.count),
          ...lineFigures(line),
          money(line.cost_usd),
        ]),
        total,
      ),
      notes(usage),
    );
  }

  /** What each response used: read from the events, when somebody wants to know. */
  async load() {
    if (this.#loaded) return;
    this.#loaded = true;
    this.#responses.replaceChildren(h("p", { class: "hint" }, "Looking for responses …"));
    try {
      this.#fill(await this.#find());
    } catch (error) {
      this.#loaded = false;
      this.#responses.replaceChildren(h("p", { class: "problem" }, explain(error)));
    }
  }

  async #find() {
    const found = [];
    let after = -1;
    while (after !== null && found.length < MAX_RESPONSES) {
      const page = await get(this.#path, { type: "response.done", direction: "down", limit: PAGE, after });
      for (const entry of page.events) {
        const used = responseUsed(entry.event?.response);
        if (used)
          found.push({
            ms: Math.max(0, Date.parse(entry.at) - this.#startedAt),
            status: entry.event.response.status,
            used,
          });
      }
      after = page.next;
    }
    return found;
  }

  /** @param {{ms: number, status: string, used: import("./tokens.js").Used}[]} found */
  #fill(found) {
    if (found.length === 0) return this.#responses.replaceChildren();
    const rows = found.map(({ ms, status, used }) => [
      h(
        "button",
        { type: "button", class: "at", title: "Play from here", onclick: () => this.#seek(ms / 1000) },
        clock(ms),
      ),
      ...figures(used),
      status === "completed" ? "" : String(status),
    ]);
    this.#responses.replaceChildren(h("h3", null, "By response"), table(["Done at", ...TOKENS, ""], rows));
  }
}

/** @param {string[]} heads @param {any[][]} rows @param {any[]} [total] */
function table(heads, rows, total) {
  const line = (/** @type {any[]} */ cells) =>
    h(
      "tr",
      null,
      cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : h("td", null, cell))),
    );
  return h(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": heads[0] || "Usage" },
    h(
      "table",
      { class: "tokens" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          heads.map((head) => h("th", { scope: "col" }, head)),
        ),
      ),
      h("tbody", null, rows.map(line)),
      total && h("tfoot", null, line(total)),
    ),
  );
}

/** @param {any} line */
function name({ kind, model }) {
  return h("td", null, KINDS[kind] ?? kind, h("span", { class: "hint" }, model ?? "a model that was not told"));
}

/** @param {any} line */
function lineFigures({ tokens, seconds }) {
  const used = usedOf(tokens);
  return used.total === 0 && seconds > 0
    ? [h("td", { colspan: "5" }, `${seconds.toFixed(1)} s of audio`)]
    : figures(used);
}

/** @param {import("./tokens.js").Used} used */
function figures({ input, output, cached, share }) {
  const part = share === null || cached === 0 ? "" : ` ${Math.round(100 * share)} %`;
  return [
    count(input.text),
    count(input.audio),
    h("td", null, count(cached), h("span", { class: "hint" }, part)),
    count(output.text),
    count(output.audio),
  ];
}

/** What the sum does not say. @param {any} usage */
function notes({ unpriced_tokens, unpriced_seconds, approximate }) {
  const told = [
    unpriced_tokens && `${count(unpriced_tokens)} tokens have no price.`,
    unpriced_seconds && `${unpriced_seconds} s of audio have no price.`,
    approximate && "The cost is approximate: a price is not confirmed, or it is not known which tokens were cached.",
  ].filter(Boolean);
  return told.length ? h("p", { class: "hint" }, told.join(" ")) : null;
}
