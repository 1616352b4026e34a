/** Everything that went over the data channel: filtered, opened, played from, and in a live call added to. */

import { ApiError, events as streamOf, get, post } from "../api.js";
import { clock, count, h, say, size } from "../dom.js";
import { explain } from "../parts.js";
import { FilteredEvents, isEmpty, LiveEvents, StoredEvents, textOf, typeOf } from "./eventsource.js";
import { VirtualList } from "./list.js";

const ROW_PX = 30;
const TYPING_MS = 250;
const MAX_JSON = 200_000; // characters that are shown of one event

// What there is to choose from; any other beginning of a type can be written.
const TYPES = [
  "error",
  "session.",
  "response.",
  "response.created",
  "response.done",
  "response.function_call_arguments",
  "response.output_audio_transcript",
  "conversation.item.",
  "conversation.item.input_audio_transcription",
  "input_audio_buffer.",
  "output_audio_buffer.",
  "rate_limits.updated",
  "relay.",
];
const EMPTY = { direction: "", type: "", q: "" };

/** @typedef {import("./eventsource.js").Filter} Filter */

export class EventsView {
  #path;
  #startedAt;
  #seek;
  /** @type {any} */ #source = null;
  /** @type {LiveEvents | null} */ #live = null;
  /** @type {() => void} */ #closeStream = () => {};
  #count = 0;
  #timer = 0;
  #told = h("span", { class: "hint", role: "status" });
  #detail = h("div", { class: "detail", hidden: true });
  #list = new VirtualList({
    label: "Events",
    rowPx: ROW_PX,
    make: (event) => this.#row(event),
    pick: (event) => this.#open(event),
    failed: (error) => this.#tell(explain(error)),
  });
  #form = this.#filterForm();
  element = h("div", { class: "events" }, this.#form, this.#list.element, this.#detail);

  /** @param {{id: string, started_at: string}} session @param {(at: number) => void} seek seconds */
  constructor({ id, started_at }, seek) {
    this.#path = `sessions/${encodeURIComponent(id)}/events`;
    this.#startedAt = Date.parse(started_at);
    this.#seek = seek;
  }

  // -- where they come from

  /** @param {number} total as the session tells it */
  showStored(total) {
    this.#closeStream();
    this.#live = null;
    this.#count = total;
    this.#refilter();
  }

  /** @param {{event(event: any): void, end(): void}} told of each event, and of the call's end */
  showLive(told) {
    const live = new LiveEvents();
    this.#live = live;
    this.#source = live;
    this.#list.show(live);
    this.element.append(this.#injector());
    let due = false;
    const redraw = () => {
      due = false;
      this.#list.refresh(true);
      this.#tellCount();
    };
    const close = streamOf(this.#path, {
      event: (event) => {
        live.add(event);
        told.event(event);
        if (!due) due = Boolean(setTimeout(redraw, 100));
      },
      gap: ({ first, last }) => this.#tell(`${count(last - first + 1)} events came too fast to be shown`),
      end: () => (close(), told.end()),
      closed: () => told.end(),
    });
    this.#closeStream = close;
    this.#tellCount();
  }

  destroy() {
    clearTimeout(this.#timer);
    this.#closeStream();
    this.#list.destroy();
  }

  // -- the filter

  #filterForm() {
    const types = h(
      "datalist",
      { id: "event-types" },
      TYPES.map((type) => h("option", { value: type })),
    );
    return h(
      "form",
      {
        class: "filter",
        role: "search",
        "aria-label": "Filter events",
        onsubmit: (/** @type {Event} */ event) => event.preventDefault(),
        oninput: () => this.#later(),
      },
      h("input", { type: "search", name: "q", placeholder: "Text", "aria-label": "Text in the event" }),
      h("input", {
        type: "search",
        name: "type",
        placeholder: "Type",
        "aria-label": "Type begins with",
        list: "event-types",
        spellcheck: "false",
      }),
      types,
      h(
        "fieldset",
        { class: "segments", "aria-label": "Direction" },
        direction("", "Both"),
        direction("up", "↑ Up"),
        direction("down", "↓ Down"),
      ),
      this.#told,
    );
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refilter(), TYPING_MS);
  }

  /** @returns {Filter} */
  get #filter() {
    const given = new FormData(this.#form);
    return {
      ...EMPTY,
      ...Object.fromEntries(["q", "type", "direction"].map((name) => [name, String(given.get(name) ?? "").trim()])),
    };
  }

  async #refilter() {
    const filter = this.#filter;
    this.#close();
    if (this.#live) {
      this.#live.filterBy(filter);
      this.#list.show(this.#live);
      return this.#tellCount();
    }
    const load = (/** @type {any} */ query) => this.#load(query);
    this.#source = isEmpty(filter) ? new StoredEvents(load, this.#count) : new FilteredEvents(load, filter);
    this.#list.show(this.#source);
    this.#tell("Looking …");
  }

  /** @param {Record<string, string | number>} query */
  async #load(query) {
    const source = this.#source;
    const page = await get(this.#path, query);
    queueMicrotask(() => source === this.#source && setTimeout(() => source === this.#source && this.#tellCount()));
    return page;
  }

  #tellCount() {
    const { count: shown, ended, dropped } = this.#source;
    const more = ended ? "" : " and more";
    const gone = dropped ? `, ${count(dropped)} older ones let go` : "";
    this.#tell(
      shown === 0 && ended
        ? "No event like this"
        : `${count(shown)}${more} event${shown === 1 && !more ? "" : "s"}${gone}`,
    );
  }

  /** @param {string} text */
  #tell(text) {
    this.#told.textContent = text;
  }

  // -- one event

  /** @param {any} event */
  #ms(event) {
    return Math.max(0, Date.parse(event.at) - this.#startedAt);
  }

  /** @param {any} event */
  #row(event) {
    const ms = this.#ms(event);
    const seek = (/** @type {Event} */ clicked) => (clicked.stopPropagation(), this.#seek(ms / 1000));
    const type = typeOf(event);
    return h(
      "div",
      { class: `row ${event.direction ?? "relay"}${type === "error" ? " wrong" : ""}` },
      h("span", { class: "at", title: "Play from here", onclick: seek }, exact(ms)),
      h("span", { class: "way", title: wayOf(event) }, { up: "↑", down: "↓" }[event.direction] ?? "·"),
      h("code", null, type),
      h("span", { class: "size" }, event.bytes === undefined ? "" : size(event.bytes)),
    );
  }

  /** @param {any} event */
  #open(event) {
    const ms = this.#ms(event);
    const text = event.event === undefined ? textOf(event) : JSON.stringify(event.event, null, 2);
    const shown =
      text.length > MAX_JSON ? `${text.slice(0, MAX_JSON)}\n… ${count(text.length - MAX_JSON)} characters more` : text;
    const close = h("button", { type: "button", class: "quiet", onclick: () => this.#close() }, "Close");
    this.#detail.replaceChildren(
      h(
        "div",
        { class: "bar" },
        h("h3", null, typeOf(event)),
        h("button", { type: "button", class: "quiet", onclick: () => this.#seek(ms / 1000) }, `Play from ${exact(ms)}`),
        close,
      ),
      h(
        "p",
        { class: "hint" },
        `no. ${event.seq}, ${wayOf(event)}, ${event.bytes === undefined ? "" : `${size(event.bytes)}, `}${event.at}`,
      ),
      h("pre", { tabindex: "0" }, shown || "Its content is not kept here."),
    );
    this.#detail.hidden = false;
    this.#detail.onkeydown = (/** @type {KeyboardEvent} */ pressed) => {
      if (pressed.key !== "Escape") return;
      this.#close();
      this.#list.element.focus();
    };
  }

  #close() {
    this.#detail.hidden = true;
  }

  // -- one more event, of the operator's

  #injector() {
    const text = h("textarea", {
      rows: "5",
      spellcheck: "false",
      "aria-label": "Event as JSON",
      "aria-describedby": "injected",
    });
    text.value = '{\n  "type": "response.create"\n}';
    const told = h(
      "p",
      { class: "hint", id: "injected", role: "status" },
      "Goes to the upstream, among the client's own events.",
    );
    const send = h("button", { type: "submit" }, "Send event");
    const form = h(
      "form",
      { class: "inject" },
      h(
        "details",
        null,
        h("summary", null, "Send an event into the call"),
        text,
        h("div", { class: "actions" }, told, send),
      ),
    );
    form.addEventListener("submit", async (/** @type {Event} */ event) => {
      event.preventDefault();
      send.disabled = true;
      told.textContent = await this.#inject(text.value).finally(() => (send.disabled = false));
      told.classList.toggle("problem", !told.textContent.startsWith("Sent"));
    });
    return form;
  }

  /** @param {string} text @returns {Promise<string>} what became of it */
  async #inject(text) {
    const problem = problemOf(text);
    if (problem) return problem;
    try {
      const { type } = await post(this.#path, text);
      say("The event was sent.");
      return `Sent: ${type}`;
    } catch (error) {
      if (error instanceof ApiError) return error.message;
      throw error;
    }
  }
}

/** @param {string} text @returns {string | null} why it is no event */
export function problemOf(text) {
  let event;
  try {
    event = JSON.parse(text);
  } catch (error) {
    return `This is not JSON: ${/** @type {Error} */ (error).message}`;
  }
  if (event === null || typeof event !== "object" || Array.isArray(event)) return "An event is a JSON object.";
  return typeof event.type === "string" && event.type ? null : 'An event has a "type".';
}

/** @param {string} value @param {string} label */
function direction(value, label) {
  return h(
    "label",
    null,
    h("input", { type: "radio", name: "direction", value, checked: value === "" }),
    h("span", null, label),
  );
}

/** @param {any} event */
function wayOf({ direction: way }) {
  return { up: "client to upstream", down: "upstream to client" }[way] ?? "the relay's own";
}

/** @param {number} ms @returns {string} "1:05.20" */
function exact(ms) {
  return `${clock(ms)}.${String(Math.floor((ms % 1000) / 10)).padStart(2, "0")}`;
}
