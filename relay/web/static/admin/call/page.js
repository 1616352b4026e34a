/** One call's page: what is known of it, its voices and words on one clock, and what is beside them. */

import { ApiError, get } from "../api.js";
import { h, say } from "../dom.js";
import { empty, failure } from "../parts.js";
import { CostView } from "./cost.js";
import { Deck, STEP_S } from "./deck.js";
import { EventsView } from "./events.js";
import { HeadView } from "./head.js";
import { LiveDeck } from "./live.js";
import { QualityView } from "./quality.js";
import { ResponsesView } from "./responses.js";
import { Tabs } from "./tabs.js";
import { responsesOf } from "./timings.js";
import { TranscriptView } from "./transcript.js";

const POLL_MS = 2000;
const TRANSCRIPT_MS = 1000;
const TICK_MS = 500;
const COMPLETE_TRIES = 20;

/**
 * @param {HTMLElement} root @param {{id: string, at?: string}} params `at`: seconds into the call
 * @returns {Promise<() => void>}
 */
export async function mount(root, { id, at }) {
  const page = new CallPage(root, id);
  try {
    await page.open(Number(at) || 0);
  } catch (error) {
    page.close();
    throw error;
  }
  return () => page.close();
}

class CallPage {
  #root;
  #id;
  #path;
  #gone = new AbortController();
  /** @type {any} */ #session;
  /** @type {any} */ #parts = null;
  /** @type {number[]} */ #timers = [];
  #asked = 0; // when the transcript was asked for
  #due = false;
  #ending = false;

  /** @param {HTMLElement} root @param {string} id */
  constructor(root, id) {
    this.#root = root;
    this.#id = id;
    this.#path = `sessions/${encodeURIComponent(id)}`;
    addEventListener("keydown", (event) => this.#onKey(event), { signal: this.#gone.signal });
  }

  /** @param {number} at seconds */
  async open(at) {
    this.#root.classList.add("call-view");
    const transcript = this.#transcript(); // both at once
    this.#session = await get(this.#path, {}, { signal: this.#gone.signal });
    this.#build();
    if (this.#session.state === "live") this.#follow();
    else await this.#showStored(transcript, at);
  }

  close() {
    this.#gone.abort();
    this.#clear();
  }

  #clear() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
    for (const part of Object.values(this.#parts ?? {})) part.destroy?.();
    this.#parts = null;
  }

  // -- what it is made of

  #build() {
    const session = this.#session;
    const seek = (/** @type {number} */ at) => this.#parts?.deck.seek?.(at);
    const live = session.state === "live";
    const deck = live ? new LiveDeck(this.#id) : new Deck(session, { time: (at) => this.#onTime(at) });
    const cost = new CostView(session, seek);
    const parts = {
      head: new HeadView(session, () => (location.hash = "#/sessions")),
      deck,
      cost,
      transcript: new TranscriptView(seek),
      responses: new ResponsesView(seek),
      events: new EventsView(session, seek),
      quality: new QualityView(seek),
    };
    const tabs = new Tabs("Details", [
      ["Responses", parts.responses.element],
      ["Events", parts.events.element],
      ["Quality", parts.quality.element, () => parts.quality.show(this.#session)],
      ["Cost", parts.cost.element, () => live || cost.load()],
    ]);
    this.#parts = { ...parts, tabs };
    this.#root.replaceChildren(
      parts.head.element,
      deck.element,
      h("div", { class: "columns" }, parts.transcript.element, tabs.element),
    );
    this.#showFacts();
  }

  #showFacts() {
    const { head, deck, responses, cost, quality, tabs } = this.#parts;
    const found = responsesOf(this.#session.responses?.timings);
    head.show(this.#session);
    deck.showResponses?.(found);
    responses.show(found, this.#session);
    cost.show(this.#session);
    if (tabs.shows(quality.element)) quality.show(this.#session);
  }

  /** @param {number} at seconds */
  #onTime(at) {
    if (this.#parts) this.#parts.transcript.time = at;
  }

  // -- a call that is over

  /** @param {Promise<any>} transcript @param {number} at */
  async #showStored(transcript, at) {
    const { deck, events, transcript: view } = this.#parts;
    events.showStored(this.#session.recording?.events ?? 0);
    const drawn = deck.load(this.#session);
    try {
      view.show(await transcript, false);
    } catch (error) {
      if (this.#gone.signal.aborted) return;
      view.say(
        error instanceof ApiError && error.status === 404 ? "There is no transcript of this call." : error.message,
      );
    }
    if (at > 0) deck.seek(at);
    this.#findKept();
    drawn.catch(() => {}); // the deck says itself what is wrong
  }

  /** The list knows more of it than its own file: whether it was uploaded. Nothing, where the index is away. */
  async #findKept() {
    const began = Date.parse(this.#session.started_at);
    const span = { since: new Date(began).toISOString(), until: new Date(began + 1000).toISOString(), limit: 200 };
    const page = await get("sessions", span, { signal: this.#gone.signal }).catch(() => null);
    const row = page?.sessions.find((/** @type {any} */ { id }) => id === this.#id);
    if (row) this.#parts?.head.showKept(row);
  }

  #transcript() {
    const found = get(`${this.#path}/transcript.json`, {}, { signal: this.#gone.signal });
    found.catch(() => {}); // it is awaited later
    return found;
  }

  // -- a call that runs

  #follow() {
    const { events, head } = this.#parts;
    events.showLive({ event: () => this.#wantTranscript(), end: () => this.#ended() });
    const began = Date.now() - 1000 * (this.#session.duration_s ?? 0);
    const tick = () => {
      head.duration = Date.now() - began;
      this.#timers[0] = setTimeout(tick, TICK_MS);
    };
    tick();
    this.#timers[1] = setTimeout(() => this.#poll(), POLL_MS);
    this.#wantTranscript();
  }

  async #poll() {
    try {
      const session = await get(this.#path, {}, { signal: this.#gone.signal });
      if (!this.#parts || this.#ending) return;
      if (session.state !== "live") return this.#ended();
      this.#session = session;
      this.#showFacts();
    } catch (error) {
      if (this.#gone.signal.aborted) return;
      if (error instanceof ApiError && error.status === 404) return this.#ended();
    }
    this.#timers[1] = setTimeout(() => this.#poll(), document.hidden ? 5 * POLL_MS : POLL_MS);
  }

  /** At most once a second, and once more after the last change. */
  #wantTranscript() {
    if (this.#due) return;
    this.#due = true;
    const wait = Math.max(0, this.#asked + TRANSCRIPT_MS - performance.now());
    this.#timers[2] = setTimeout(() => this.#readTranscript(), wait);
  }

  async #readTranscript() {
    this.#due = false;
    this.#asked = performance.now();
    try {
      const transcript = await this.#transcript();
      this.#parts?.transcript.show(transcript, true);
    } catch (error) {
      if (!this.#gone.signal.aborted) this.#parts?.transcript.say(error.message);
    }
  }

  /** The page turns into that of a stored call, as soon as its folder is complete. */
  async #ended() {
    if (!this.#parts || this.#ending) return;
    this.#ending = true;
    say("The call has ended.");
    for (let attempt = 0; attempt < COMPLETE_TRIES && !this.#gone.signal.aborted; attempt += 1) {
      const session = await get(this.#path, {}, { signal: this.#gone.signal }).catch((error) => error);
      if (this.#gone.signal.aborted) return;
      if (session instanceof ApiError && session.status === 404) return this.#notKept();
      if (session.state && session.state !== "live") return this.#reopen();
      await new Promise((done) => setTimeout(done, TICK_MS));
    }
  }

  async #reopen() {
    this.#clear();
    this.#ending = false;
    try {
      await this.open(0);
    } catch (error) {
      if (!this.#gone.signal.aborted) this.#root.replaceChildren(failure(error, () => this.#reopen()));
    }
  }

  #notKept() {
    this.#clear();
    this.#root.replaceChildren(
      empty(
        "The call has ended.",
        "Nothing is kept of it: recording.mode is off. ",
        h("a", { href: "#/live" }, "Live calls"),
      ),
    );
  }

  // -- keyboard: space plays, arrows move by five seconds

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const deck = this.#parts?.deck;
    const target = event.target instanceof Element ? event.target : document.body;
    if (!deck?.seek || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (target.closest("input, textarea, select, dialog, [role=tab], [role=listbox], .plot .canvas")) return;
    if (event.key === " " && !target.closest("button, summary, a")) deck.toggle();
    else if (event.key === "ArrowLeft") deck.step(-STEP_S);
    else if (event.key === "ArrowRight") deck.step(STEP_S);
    else return;
    event.preventDefault();
  }
}
