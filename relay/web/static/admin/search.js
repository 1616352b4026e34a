/** What is stored: search in transcripts and by filters, a page at a time; deletion, with its proof. */

import { del, get } from "./api.js";
import { h, icon, plural, say } from "./dom.js";
import { arrows, confirmed, empty, explain, failure, isMarkedIn, keepFocus, tell } from "./parts.js";
import { dayOf, proof, resultRow } from "./search-results.js";

const TYPING_MS = 250;
const FOLLOW_MS = 3000;
const OUTCOMES = ["completed", "limited", "failed", "refused", "abandoned", "drained"];
const FIELDS = ["q", "since", "until", "outcome", "model", "key"];

/** @param {HTMLElement} root @param {Record<string, string>} params the filters, as in the address @returns {() => void} */
export function mount(root, params) {
  const view = new SearchView(root, params);
  return () => view.unmount();
}

class SearchView {
  /** @type {Record<string, HTMLInputElement>} */ #fields;
  #results = h("div", { class: "results" });
  #summary = h("p", { class: "hint summary", role: "status" });
  #notice = h("p", { class: "notice", role: "alert", hidden: true });
  #more = h("button", { type: "button", hidden: true, onclick: () => this.#next() }, "Show more");
  #asked = new AbortController();
  #typing = 0;
  #following = 0;
  #paged = false;
  /** The first page as the server sent it. @type {string | null} */ #first = null;
  /** @type {string | null} */ #cursor = null;
  #shown = 0;
  /** @type {string | null} */ #day = null;

  /** @param {HTMLElement} root @param {Record<string, string>} params */
  constructor(root, params) {
    this.#fields = fields(params);
    root.replaceChildren(
      h("div", { class: "head" }, h("h1", null, "Calls"), this.#summary),
      this.#form(),
      this.#notice,
      this.#results,
      h("p", { class: "more" }, this.#more),
    );
    arrows(this.#results, "li.result");
    if (params.focus === "search") this.#fields.q.focus();
    this.#search();
  }

  unmount() {
    clearTimeout(this.#typing);
    clearTimeout(this.#following);
    this.#asked.abort();
  }

  // -- what is looked for

  #form() {
    const { q, since, until, outcome, model, key } = this.#fields;
    const clear = h("button", { type: "button", class: "quiet", onclick: () => this.#clear() }, "Clear");
    return h(
      "form",
      { class: "sheet filters", role: "search", onsubmit: (event) => this.#submit(event), oninput: (event) => this.#onInput(event), onkeydown: (event) => this.#onKey(event) },
      h("div", { class: "search" }, icon("search"), h("label", { class: "unseen", for: "search" }, "Search transcripts"), q, h("kbd", { "aria-hidden": "true" }, "/")),
      h("details", { class: "narrow", open: isWide() || [since, until, outcome, model, key].some(({ value }) => value) },
        h("summary", null, "Filters"),
        h("div", { class: "fields" },
          labelled("From", since), labelled("To", until), labelled("Outcome", outcome), labelled("Model", model), labelled("Key", key), clear)),
    );
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    this.#search();
  }

  /** @param {Event} event */
  #onInput(event) {
    clearTimeout(this.#typing);
    const wait = event.target instanceof HTMLInputElement && event.target.type !== "date" ? TYPING_MS : 0;
    this.#typing = setTimeout(() => this.#search(), wait);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.target !== this.#fields.q) return;
    if (event.key === "Escape" && this.#fields.q.value) {
      event.preventDefault(); // not every browser empties the field, so it is done here
      this.#fields.q.value = "";
      this.#search();
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      this.#results.querySelector("a")?.focus();
    }
  }

  #clear() {
    for (const field of Object.values(this.#fields)) field.value = "";
    this.#fields.q.focus();
    this.#search();
  }

  /** @returns {Record<string, string>} what is filled in */
  #filters() {
    const filled = FIELDS.map((name) => [name, this.#fields[name].value.trim()]);
    return Object.fromEntries(filled.filter(([, value]) => value));
  }

  // -- what is found

  async #search() {
    clearTimeout(this.#typing);
    const filters = this.#filters();
    const address = new URLSearchParams(filters).toString();
    history.replaceState(null, "", `#/sessions${address ? `?${address}` : ""}`); // no hashchange: the view stays
    this.#paged = false;
    const signal = this.#interrupt();
    this.#results.setAttribute("aria-busy", "true");
    try {
      this.#begin(await get("sessions", query(filters), { signal }), filters);
    } catch (error) {
      if (signal.aborted) return;
      this.#restart();
      this.#summary.textContent = "";
      this.#results.append(failure(error, () => this.#search()));
    }
    this.#results.removeAttribute("aria-busy");
    this.#follow();
  }

  /** Ends what is being asked for. @returns {AbortSignal} for what is asked next */
  #interrupt() {
    clearTimeout(this.#following);
    this.#asked.abort();
    this.#asked = new AbortController();
    return this.#asked.signal;
  }

  /** Keeps the first page up to date: calls end, and are found a moment later. */
  #follow() {
    clearTimeout(this.#following);
    this.#following = setTimeout(() => this.#refresh(), FOLLOW_MS);
  }

  async #refresh() {
    if (this.#paged) return; // whoever has gone on reads what there was
    const { signal } = this.#asked;
    const filters = this.#filters();
    if (!document.hidden && !isMarkedIn(this.#results)) {
      const page = await get("sessions", query(filters), { signal }).catch(() => null); // what was found before stays
      if (page && JSON.stringify(page) !== this.#first) keepFocus(this.#results, () => this.#begin(page, filters));
    }
    if (!signal.aborted) this.#follow();
  }

  /** Shows a first page. */
  #begin(page, filters) {
    this.#restart();
    this.#first = JSON.stringify(page);
    this.#show(page);
    if (!this.#shown) this.#results.append(nothing(filters, page.problem));
  }

  #restart() {
    this.#results.replaceChildren();
    this.#more.hidden = true;
    this.#notice.hidden = true;
    this.#first = null;
    this.#cursor = null;
    this.#day = null;
    this.#shown = 0;
  }

  async #next() {
    this.#more.disabled = true;
    this.#paged = true;
    const signal = this.#interrupt();
    try {
      const page = await get("sessions", { ...query(this.#filters()), cursor: this.#cursor }, { signal });
      const first = this.#show(page);
      first?.querySelector("a")?.focus();
    } catch (error) {
      if (!signal.aborted) this.#complain(explain(error));
    }
    this.#more.disabled = false;
  }

  /** Appends a page, under headings of the days. @returns {HTMLElement | null} its first row */
  #show({ sessions, cursor, problem }) {
    let first = null;
    for (const session of sessions) {
      const day = dayOf(session.started_at);
      if (day !== this.#day) {
        this.#day = day;
        this.#results.append(h("h2", { class: "day" }, day), h("ol", { class: "calls sheet", "aria-label": day }));
      }
      const row = resultRow(session, (from) => this.#delete(session, from));
      this.#results.lastElementChild?.append(row);
      first ??= row;
    }
    this.#shown += sessions.length;
    this.#cursor = cursor;
    this.#more.hidden = cursor === null;
    this.#count();
    if (problem) this.#complain(`Stored calls are missing: ${problem}`);
    return first;
  }

  #count() {
    const text = this.#shown ? `${plural(this.#shown, "call")}${this.#cursor ? ", and more" : ""}` : "";
    if (this.#summary.textContent !== text) this.#summary.textContent = text; // it is read out
  }

  /** @param {string} text */
  #complain(text) {
    this.#notice.textContent = text;
    this.#notice.hidden = false;
  }

  // -- deletion

  /** @param {any} session @param {HTMLElement} row */
  async #delete(session, row) {
    const text = `Audio, transcript, events and index entry of ${session.id} go for good, and what was uploaded of it.`;
    this.#interrupt(); // the row stays where it is
    if (!(await confirmed({ title: "Delete this recording?", text, action: "Delete" }))) return this.#follow();
    try {
      const deletion = await del(`recordings/${encodeURIComponent(session.id)}`);
      const neighbour = this.#remove(row);
      await tell("Deleted", proof(deletion));
      neighbour?.querySelector("a")?.focus();
    } catch (error) {
      if (error.body?.remains) await tell("Not all of it is deleted", proof(error.body));
      else await tell("It was not deleted", h("p", null, explain(error)));
    }
    this.#follow();
  }

  /** @param {HTMLElement} row @returns {Element | undefined} the next one, or the one before */
  #remove(row) {
    const list = row.parentElement;
    const rows = [...this.#results.querySelectorAll("li.result")];
    const at = rows.indexOf(row);
    row.remove();
    if (list && !list.children.length) {
      list.previousElementSibling?.remove();
      list.remove();
    }
    this.#shown--;
    this.#count();
    say("The recording is deleted.");
    return rows[at + 1] ?? rows[at - 1];
  }
}

// -- the form's parts

/** @param {Record<string, string>} params @returns {Record<string, any>} */
function fields(params) {
  const made = {
    q: h("input", { id: "search", type: "search", placeholder: "Search what was said", autocomplete: "off", spellcheck: "false", title: "All words; “in this order”; begin*; -without" }),
    since: h("input", { id: "since", type: "date" }),
    until: h("input", { id: "until", type: "date" }),
    outcome: h("select", { id: "outcome" }, h("option", { value: "" }, "any"), OUTCOMES.map((name) => h("option", { value: name }, name))),
    model: h("input", { id: "model", type: "text", placeholder: "any", autocomplete: "off", spellcheck: "false" }),
    key: h("input", { id: "key", type: "text", placeholder: "any", autocomplete: "off", spellcheck: "false" }),
  };
  for (const name of FIELDS) made[name].value = params[name] ?? "";
  return made;
}

/** Whether there is room for the filters beside each other; elsewhere they are folded away. */
function isWide() {
  return matchMedia("(min-width: 721px)").matches;
}

/** @param {string} text @param {HTMLElement} field */
function labelled(text, field) {
  return h("div", { class: "labelled" }, h("label", { for: field.id }, text), field);
}

/** The API's query: days become moments, from the first's beginning to the last's end, as the reader's clock has them. */
function query({ since, until, ...others }) {
  return { ...others, since: since && midnight(since, 0), until: until && midnight(until, 1) };
}

/** @param {string} day "2026-03-14" @param {number} later days */
function midnight(day, later) {
  const [year, month, date] = day.split("-").map(Number);
  return new Date(year, month - 1, date + later).toISOString();
}

/** @param {Record<string, string>} filters @param {string | null} problem */
function nothing(filters, problem) {
  if (problem) return empty("Nothing can be shown.", "The notice above says why.");
  if (Object.keys(filters).length) return empty("Nothing is found.", "Every word has to be there. Try fewer, the beginning of one with a *, or a longer time.");
  return empty("No call is stored yet.", "A call is kept when it ends, if ", h("code", null, "recording.mode"), " of the relay’s settings says so.");
}
