/** How long each answer took, and where the time went; the slow ones stand out. */

import { clock, h, plural } from "../dom.js";
import { setupOf, spreadOf } from "./timings.js";

const TRIGGERS = { speech: "speech", request: "asked for", server: "by itself" };
const LONGEST_MS = 15_000; // of a bar: the axis ends there

/** @typedef {import("./timings.js").Response} Response */

export class ResponsesView {
  #seek;
  #slowest = false;
  /** @type {Response[]} */ #responses = [];
  #summary = h("p", { class: "hint" });
  #sort = h(
    "button",
    { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => this.#toggle() },
    "Slowest first",
  );
  #body = h("tbody");
  #table = h(
    "table",
    { class: "responses" },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        ["At", "Wait", "What took the time", ""].map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    this.#body,
  );
  #setup = h("div", { class: "setup" });
  element = h(
    "div",
    { class: "panel" },
    h("div", { class: "bar" }, this.#summary, this.#sort),
    this.#table,
    this.#setup,
  );

  /** @param {(at: number) => void} seek seconds */
  constructor(seek) {
    this.#seek = seek;
  }

  /** @param {Response[]} responses @param {any} session */
  show(responses, session) {
    this.#responses = responses;
    const latency = spreadOf(responses);
    const slow = responses.filter((response) => response.slow).length;
    this.#summary.textContent = latency.count
      ? `${plural(latency.count, "answer")}: half within ${seconds(latency.p50)}, 95 % within ${seconds(latency.p95)}${slow ? `, ${slow} slow` : ", none slow"}`
      : responses.length
        ? "No answer was heard."
        : "There was no response.";
    this.#table.hidden = responses.length === 0;
    this.#sort.hidden = responses.length < 2;
    this.#fill();
    this.#showSetup(session.quality?.setup_ms ?? session.setup_ms);
  }

  #toggle() {
    this.#slowest = !this.#slowest;
    this.#sort.setAttribute("aria-pressed", String(this.#slowest));
    this.#fill();
  }

  #fill() {
    const sorted = [...this.#responses];
    if (this.#slowest) sorted.sort((a, b) => (b.latency ?? -1) - (a.latency ?? -1));
    const longest = Math.min(
      LONGEST_MS,
      Math.max(1, ...sorted.map(({ from, audible, done }) => Math.max(audible ?? 0, done ?? 0) - from)),
    );
    this.#body.replaceChildren(...sorted.map((response) => this.#row(response, longest)));
  }

  /** @param {Response} response @param {number} longest */
  #row(response, longest) {
    const at = h(
      "button",
      { type: "button", class: "at", title: "Play from here", onclick: () => this.#seek(response.from / 1000) },
      clock(response.at),
    );
    const notes = [
      TRIGGERS[response.trigger] ?? response.trigger,
      response.tool && "after a tool",
      response.status !== "completed" && response.status.replace("_", " "),
    ];
    return h(
      "tr",
      { class: response.slow ? "slow" : "" },
      h("td", null, at),
      h(
        "td",
        { class: "wait" },
        response.latency === null ? "–" : seconds(response.latency),
        response.slow && h("span", { class: "unseen" }, "slow"),
      ),
      h("td", null, bars(response, longest)),
      h("td", { class: "hint" }, notes.filter(Boolean).join(", ")),
    );
  }

  /** @param {Record<string, number> | undefined} setup_ms */
  #showSetup(setup_ms) {
    const phases = setupOf(setup_ms);
    this.#setup.hidden = phases.length === 0;
    const longest = Math.max(1, ...phases.map(({ to }) => to));
    this.#setup.replaceChildren(
      h("h3", null, "Set-up"),
      h(
        "dl",
        { class: "phases" },
        phases.map(({ label, from, to }) => [
          h("dt", null, label),
          h("dd", null, strip([{ from, to, kind: "made", label }], longest), h("span", null, `${Math.round(to)} ms`)),
        ]),
      ),
    );
  }
}

/** @param {Response} response @param {number} longest */
function bars({ from, created, audible, done }, longest) {
  const until = audible ?? done ?? created;
  const parts = [
    { from: 0, to: created - from, kind: "asked", label: "until the response was created" },
    {
      from: created - from,
      to: until - from,
      kind: "made",
      label: audible === null ? "until it was done" : "until it was heard",
    },
  ];
  if (audible !== null && done !== null && done > audible)
    parts.push({ from: audible - from, to: done - from, kind: "rest", label: "until all of it was generated" });
  return strip(parts, longest);
}

/** @param {{from: number, to: number, kind: string, label: string}[]} parts in ms @param {number} longest */
function strip(parts, longest) {
  const line = h("div", { class: "strip" });
  for (const { from, to, kind, label } of parts) {
    const piece = h("i", { class: kind, title: `${label}: ${Math.round(to - from)} ms` });
    piece.style.left = `${(100 * Math.min(from, longest)) / longest}%`;
    piece.style.width = `${(100 * Math.max(0, Math.min(to, longest) - from)) / longest}%`;
    line.append(piece);
  }
  return line;
}

/** @param {number} ms */
export function seconds(ms) {
  return `${(ms / 1000).toFixed(2)} s`;
}
