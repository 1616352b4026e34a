/** What was said, with the turn that plays marked; the list follows it until its reader scrolls. */

import { clock, h } from "../dom.js";
import { byTime, currentRow, rowsOf } from "./turns.js";

const AT_ONCE = 150; // turns; the others are built when the browser has nothing else to do
const HAND_MS = 1500; // so long after a touch of wheel, finger or key, a scroll is its reader's
const SCROLL_KEYS = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"];

/** @typedef {import("./turns.js").Row} Row */

export class TranscriptView {
  #seek;
  /** @type {Row[]} */ #rows = [];
  /** @type {Row[]} */ #sorted = [];
  /** @type {Map<string, {element: HTMLElement, made: string}>} */ #built = new Map();
  /** @type {string | null} */ #current = null;
  #following = true;
  #live = false;
  #touched = -Infinity; // when its reader scrolled last: the page scrolls, too
  #list = h("ol", { class: "spoken", tabindex: "0", "aria-label": "Transcript" });
  #follow = h(
    "button",
    {
      type: "button",
      class: "quiet follow",
      "aria-pressed": "true",
      onclick: () => this.#setFollowing(!this.#following),
    },
    "Follow",
  );
  #hint = h("p", { class: "hint" });
  element = h(
    "section",
    { class: "sheet transcript", "aria-label": "Transcript" },
    h("div", { class: "bar" }, h("h2", null, "Transcript"), this.#hint, this.#follow),
    this.#list,
  );

  /** @param {(at: number) => void} seek seconds */
  constructor(seek) {
    this.#seek = seek;
    this.#list.addEventListener("scroll", () => this.#scrolled());
    const touch = () => (this.#touched = performance.now());
    for (const kind of ["wheel", "touchmove"]) this.#list.addEventListener(kind, touch, { passive: true });
    this.#list.addEventListener(
      "keydown",
      (/** @type {KeyboardEvent} */ { key }) => SCROLL_KEYS.includes(key) && touch(),
    );
    this.#list.addEventListener("pointerdown", ({ target }) => target === this.#list && touch()); // its scroll bar
  }

  /** @param {any} transcript `transcript.json` @param {boolean} live */
  show(transcript, live) {
    this.#live = live;
    this.#rows = rowsOf(transcript.turns ?? []);
    this.#sorted = byTime(this.#rows);
    this.#hint.textContent = transcript.omitted ? `${transcript.omitted} turns found no room` : "";
    this.#follow.hidden = this.#rows.length === 0;
    this.#place(0);
  }

  /** @param {string} text instead of turns */
  say(text) {
    this.#follow.hidden = true;
    this.#list.replaceChildren(h("li", { class: "none" }, text));
  }

  /** Puts turns where they belong, and makes anew those that have changed. @param {number} from */
  #place(from) {
    const until = Math.min(this.#rows.length, from + AT_ONCE);
    const rows = this.#rows;
    for (let index = from; index < until; index += 1) this.#placeOne(rows[index], index);
    if (until < rows.length) {
      requestIdleCallback(() => rows === this.#rows && this.#place(until), { timeout: 200 });
      return;
    }
    while (this.#list.children.length > rows.length) this.#list.lastElementChild?.remove();
    if (rows.length === 0)
      this.#list.replaceChildren(
        h("li", { class: "none" }, this.#live ? "Nobody has said anything yet." : "Nothing was said."),
      );
    this.#mark(true);
  }

  /** @param {Row} row @param {number} index */
  #placeOne(row, index) {
    const made = JSON.stringify(row);
    const known = this.#built.get(row.id);
    const element = known?.made === made ? known.element : this.#make(row);
    if (known && known.element !== element) known.element.remove();
    this.#built.set(row.id, { element, made });
    if (this.#list.children[index] !== element) this.#list.insertBefore(element, this.#list.children[index] ?? null);
  }

  /** @param {Row} row */
  #make(row) {
    const time = h(
      "button",
      { type: "button", class: "at", title: "Play from here", onclick: () => this.#seek(row.start / 1000) },
      clock(row.start),
    );
    const item = h(
      "li",
      { class: `turn ${row.side}${row.struck ? " struck" : ""}`, dataset: { id: row.id } },
      time,
      h(
        "div",
        { class: "words" },
        h("p", { class: "by" }, h("b", null, row.who), row.note && h("span", { class: "hint" }, row.note)),
        row.segments.length > 1 ? row.segments.map(segmentOf) : sayingOf(row),
        row.tool && toolOf(row.tool),
      ),
    );
    item.addEventListener("click", (event) => {
      const within = event.target instanceof Element && event.target.closest("button, summary, pre");
      if (!within && getSelection()?.isCollapsed) this.#seek(row.start / 1000);
    });
    return item;
  }

  /** @param {number} at seconds */
  set time(at) {
    const row = currentRow(this.#sorted, at * 1000);
    if ((row?.id ?? null) === this.#current) return;
    this.#current = row?.id ?? null;
    this.#mark(false);
  }

  /** @param {boolean} refreshed */
  #mark(refreshed) {
    for (const marked of this.#list.querySelectorAll("[aria-current]")) marked.removeAttribute("aria-current");
    const current = this.#current === null ? undefined : this.#built.get(this.#current)?.element;
    current?.setAttribute("aria-current", "true");
    if (!this.#following) return;
    if (this.#live) this.#scroll(this.#list.scrollHeight);
    else if (current && !refreshed) this.#scroll(current.offsetTop - this.#list.clientHeight / 3);
  }

  /** @param {number} top */
  #scroll(top) {
    const near = Math.abs(top - this.#list.scrollTop) < this.#list.clientHeight;
    const smooth = near && !this.#live && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#list.scrollTo({ top, behavior: smooth ? "smooth" : "auto" });
  }

  #scrolled() {
    if (performance.now() - this.#touched > HAND_MS) return;
    const { scrollHeight, scrollTop, clientHeight } = this.#list;
    if (this.#live) this.#setFollowing(scrollHeight - scrollTop - clientHeight < 40);
    else if (this.#following && this.#current !== null) this.#setFollowing(false);
  }

  /** @param {boolean} following */
  #setFollowing(following) {
    if (this.#following === following) return;
    this.#following = following;
    this.#follow.setAttribute("aria-pressed", String(following));
    if (!following) return;
    this.#touched = -Infinity;
    this.#mark(false);
  }
}

/** @param {Row} row */
function sayingOf({ said, unheard, live }) {
  if (!said && !unheard) return live ? h("p", { class: "speech" }, "…") : null;
  return h(
    "p",
    { class: "speech" },
    said,
    unheard && h("s", { title: "generated, but never heard" }, unheard),
    live && " …",
  );
}

/** @param {any} segment */
function segmentOf({ speaker, text }) {
  return h("p", { class: "speech" }, h("span", { class: "hint" }, `${speaker}: `), text);
}

/** @param {import("./turns.js").Tool} tool */
function toolOf(tool) {
  const result =
    tool.output === null
      ? tool.waiting && h("p", { class: "hint" }, "no result")
      : [h("span", { class: "hint" }, "gave"), h("pre", null, pretty(tool.output))];
  return h(
    "div",
    { class: "tool" },
    tool.name && h("code", null, tool.name),
    tool.arguments !== null && h("pre", null, pretty(tool.arguments)),
    result,
  );
}

/** JSON on lines of its own where it is some. @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
