/**
 * Where the event list gets its rows from: a stored log in pages, whole or filtered, or a live call's stream.
 *
 * All have `count` (rows that are known of), `row(index)` (undefined: not here yet), `need(from, to)` (a promise that
 * says whether rows came) and `ended`. Nothing here knows the page; what loads is given.
 */

export const PAGE = 200;
const MAX_PAGES = 60; // of a log kept in memory: 12,000 events
const MAX_LIVE = 5000;
const MAX_LIVE_CHARS = 16_000_000;

/** @typedef {{direction: string, type: string, q: string}} Filter empty: everything */
/** @typedef {(query: Record<string, string | number>) => Promise<{events: any[], next: number | null}>} Load */

/** @param {Filter} filter */
export function isEmpty({ direction, type, q }) {
  return !direction && !type && !q;
}

/** @param {Filter} filter @returns {Record<string, string>} what the server is asked with */
export function queryOf({ direction, type, q }) {
  return Object.fromEntries(Object.entries({ direction, type, q }).filter(([, value]) => value));
}

/** As the server does it: direction, the type's beginning, any text. @param {any} event @param {Filter} filter */
export function matches(event, { direction, type, q }) {
  if (direction && event.direction !== direction) return false;
  if (type && !typeOf(event).startsWith(type)) return false;
  return !q || textOf(event).toLowerCase().includes(q.toLowerCase());
}

/** @param {any} entry @returns {string} */
export function typeOf(entry) {
  const type = entry.event?.type;
  if (typeof type === "string") return type;
  return entry.text === undefined && entry.event === undefined ? "too large to show" : "no event";
}

/** @param {any} entry @returns {string} its message on one line */
export function textOf(entry) {
  if (entry.event !== undefined) return JSON.stringify(entry.event);
  return entry.text ?? "";
}

/** All of a stored log: sequence numbers are rows, so any page can be fetched at once. */
export class StoredEvents {
  #load;
  /** @type {Map<number, any[]>} */ #pages = new Map();
  /** @type {Map<number, Promise<boolean>>} */ #coming = new Map();

  /** @param {Load} load @param {number} count as the session tells it */
  constructor(load, count) {
    this.#load = load;
    this.count = count;
  }

  get ended() {
    return true;
  }

  /** @param {number} index */
  row(index) {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** @param {number} from @param {number} to rows, the last included */
  async need(from, to) {
    const pages = [];
    for (let page = Math.floor(from / PAGE); page <= Math.floor(to / PAGE); page += 1) {
      if (!this.#pages.has(page) && (page === 0 || page * PAGE < this.count)) pages.push(this.#fetch(page));
    }
    return (await Promise.all(pages)).some(Boolean);
  }

  /** @param {number} page */
  #fetch(page) {
    const coming = this.#coming.get(page) ?? this.#fetchNow(page).finally(() => this.#coming.delete(page));
    this.#coming.set(page, coming);
    return coming;
  }

  /** @param {number} page */
  async #fetchNow(page) {
    const { events, next } = await this.#load({ after: page * PAGE - 1, limit: PAGE });
    this.#pages.set(page, events);
    const here = page * PAGE + events.length;
    // The session may have told another number, or none: one row more leads on to what there is.
    this.count = next === null ? here : Math.max(this.count, here + 1);
    if (this.#pages.size > MAX_PAGES) {
      const far = [...this.#pages.keys()].sort((a, b) => Math.abs(b - page) - Math.abs(a - page))[0];
      this.#pages.delete(far);
    }
    return true;
  }
}

/** What of a stored log passes a filter: page after page, as far as somebody reads. */
export class FilteredEvents {
  #load;
  #query;
  /** @type {any[]} */ #rows = [];
  #after = -1;
  /** @type {Promise<boolean> | null} */ #coming = null;
  ended = false;

  /** @param {Load} load @param {Filter} filter */
  constructor(load, filter) {
    this.#load = load;
    this.#query = queryOf(filter);
  }

  get count() {
    return this.#rows.length;
  }

  /** @param {number} index */
  row(index) {
    return this.#rows[index];
  }

  /** @param {number} _from @param {number} to */
  async need(_from, to) {
    if (this.ended || to < this.#rows.length - PAGE / 4) return false;
    this.#coming ??= this.#more().finally(() => (this.#coming = null));
    return this.#coming;
  }

  async #more() {
    const { events, next } = await this.#load({ ...this.#query, after: this.#after, limit: PAGE });
    this.#rows.push(...events);
    this.ended = next === null;
    this.#after = next ?? this.#after;
    return true;
  }
}

/** A live call's events, the newest of them, filtered here. */
export class LiveEvents {
  /** @type {any[]} */ #all = [];
  /** @type {any[]} */ #shown = [];
  /** @type {Filter} */ #filter = { direction: "", type: "", q: "" };
  #chars = 0;
  #sizes = new Map();
  dropped = 0;

  get count() {
    return this.#shown.length;
  }

  get total() {
    return this.#all.length;
  }

  get ended() {
    return true;
  }

  /** @param {number} index */
  row(index) {
    return this.#shown[index];
  }

  async need() {
    return false;
  }

  /** @param {Filter} filter */
  filterBy(filter) {
    this.#filter = filter;
    this.#shown = this.#all.filter((event) => matches(event, filter));
  }

  /** @param {any} event as the stream tells it */
  add(event) {
    const last = this.#all.at(-1);
    if (last && event.seq <= last.seq) return; // the stream was taken up again
    const size = textOf(event).length;
    this.#all.push(event);
    this.#sizes.set(event, size);
    this.#chars += size;
    if (matches(event, this.#filter)) this.#shown.push(event);
    while (this.#all.length > MAX_LIVE || this.#chars > MAX_LIVE_CHARS) this.#drop();
  }

  #drop() {
    const first = this.#all.shift();
    this.#chars -= this.#sizes.get(first) ?? 0;
    this.#sizes.delete(first);
    if (this.#shown[0] === first) this.#shown.shift();
    this.dropped += 1;
  }
}
