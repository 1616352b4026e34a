/** The transcript on the page: one list item a turn, changed in place. */

import { clock, make, seconds, Tail } from "./dom.js";
import { latencyOf } from "./latency.js";

/** @typedef {import("./transcript.js").Transcript} Transcript */
/** @typedef {import("./transcript.js").Turn} Turn */
/** @typedef {import("./latency.js").Answer} Answer */

const NAMES = { user: "You", assistant: "Assistant", tool: "Tool" };

export class TranscriptView {
  #list;
  #tail;
  /** @type {Map<string, {item: HTMLElement, shown: string}>} */ #items = new Map();

  /** @param {HTMLElement} list @param {HTMLElement} scroller */
  constructor(list, scroller) {
    this.#list = list;
    this.#tail = new Tail(scroller);
  }

  clear() {
    this.#items.clear();
    this.#list.replaceChildren();
  }

  /** @param {Transcript} transcript @param {Answer[]} answers @param {number} startedAt of the call, in ms */
  show(transcript, answers, startedAt) {
    this.#tail.look();
    for (const turn of transcript.turns) {
      const answer = answers.find(({ responseId }) => responseId === turn.responseId) ?? null;
      this.#showTurn(turn, transcript.heardLength(turn), answer, startedAt);
    }
    this.#order(transcript.turns);
    this.#tail.settle();
  }

  /** @param {Turn} turn @param {number} heardLength @param {Answer | null} answer @param {number} startedAt */
  #showTurn(turn, heardLength, answer, startedAt) {
    const shown = JSON.stringify([turn, heardLength, answer && latencyOf(answer)]);
    const known = this.#items.get(turn.id);
    if (known?.shown === shown) return;
    const item = known?.item ?? make("li");
    item.className = `turn ${turn.role} ${turn.state}${turn.interrupted ? " interrupted" : ""}`;
    const who = make("p", "who", NAMES[turn.role], " ", make("time", "", clock(turn.at - startedAt)));
    item.replaceChildren(who, said(turn, heardLength), ...notes(turn, answer));
    this.#items.set(turn.id, { item, shown });
  }

  /** @param {Turn[]} turns */
  #order(turns) {
    const items = turns.map((turn) => /** @type {HTMLElement} */ (this.#items.get(turn.id)?.item));
    const current = this.#list.children;
    if (items.length === current.length && items.every((item, index) => item === current[index])) return;
    this.#list.replaceChildren(...items);
  }
}

/** @param {Turn} turn @param {number} heardLength */
function said(turn, heardLength) {
  if (turn.text === "") return make("p", "said nothing", nothingSaid(turn));
  const rest = turn.text.slice(heardLength);
  const cut = rest.trim() === "" ? [] : [make("span", "unseen", " (not heard:) "), make("s", "", rest)];
  return make("p", "said", turn.text.slice(0, heardLength), ...cut);
}

/** @param {Turn} turn */
function nothingSaid({ role, state }) {
  if (state === "open") return role === "user" ? "listening…" : "…";
  if (state === "failed") return role === "user" ? "could not be transcribed" : "failed";
  return role === "user" ? "spoken, not transcribed" : "said nothing";
}

/** @param {Turn} turn @param {Answer | null} answer @returns {HTMLElement[]} */
function notes(turn, answer) {
  if (turn.role !== "assistant") return [];
  const latency = answer && answer.trigger !== "server" ? latencyOf(answer) : null;
  const facts = latency === null ? [] : [make("span", "took", seconds(latency))];
  if (turn.interrupted) {
    const where = turn.heardMs === null ? "" : ` after ${(turn.heardMs / 1000).toFixed(1)} s`;
    facts.push(make("span", "cut", `interrupted${where}`));
  }
  return facts.length === 0 ? [] : [make("p", "note", ...facts)];
}
