/** The calls that run now: who, for how long, how loud; listen in, hang up; and how the server is. */

import { del, get } from "./api.js";
import { clock, count, h, icon, money, say } from "./dom.js";
import { Meter, levels } from "./levels.js";
import { listen, play } from "./listen.js";
import { arrows, confirmed, empty, explain } from "./parts.js";
import { ServerState } from "./server-state.js";

const POLL_MS = 2000;
const TICK_MS = 500;

/** @param {HTMLElement} root @returns {() => void} */
export function mount(root) {
  const view = new LiveView(root);
  return () => view.unmount();
}

class LiveView {
  /** @type {Map<string, LiveRow>} */ #rows = new Map();
  #root;
  #ear = new Ear();
  #title = h("h1", null, "Live calls");
  #list = h("ol", { class: "calls live", "aria-label": "Live calls" });
  #notice = h("p", { class: "notice", role: "alert", hidden: true });
  #nothing = empty("No call is running.", "One appears here as soon as it begins, such as one from ",
    h("a", { href: "../" }, "the demo page"), ".");
  #state = new ServerState();
  #ticking = 0;
  #polling = 0;
  #closeLevels = () => {};
  #onVisible = () => (document.hidden ? this.#pause() : this.#resume());
  #gone = new AbortController();

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    this.#nothing.hidden = true;
    this.#list.hidden = true;
    root.replaceChildren(h("div", { class: "head" }, this.#title, this.#state.element), this.#notice, this.#nothing, this.#list);
    arrows(this.#list);
    document.addEventListener("visibilitychange", this.#onVisible);
    this.#resume();
  }

  unmount() {
    this.#gone.abort();
    this.#pause();
    this.#ear.stop();
    document.removeEventListener("visibilitychange", this.#onVisible);
  }

  /** Nothing is asked for, and nothing measured, for a page that nobody sees. */
  #pause() {
    clearTimeout(this.#polling);
    clearInterval(this.#ticking);
    this.#closeLevels();
    this.#closeLevels = () => {};
  }

  #resume() {
    this.#pause();
    this.#ticking = setInterval(() => this.#rows.forEach((row) => row.tick()), TICK_MS);
    this.#closeLevels = levels((calls) => this.#rows.forEach((row, id) => row.hear(calls[id])));
    this.#poll();
  }

  async #poll() {
    clearTimeout(this.#polling);
    await Promise.all([this.#refresh(), this.#state.refresh(this.#gone.signal)]);
    if (!this.#gone.signal.aborted && !document.hidden) this.#polling = setTimeout(() => this.#poll(), POLL_MS);
  }

  async #refresh() {
    try {
      const { sessions } = await get("sessions", { state: "live" }, { signal: this.#gone.signal });
      this.#show(sessions);
      this.#notice.hidden = true;
    } catch (error) {
      if (this.#gone.signal.aborted) return;
      this.#notice.textContent = `${explain(error)} This is how it was before; it is asked again and again.`;
      this.#notice.hidden = false;
    }
  }

  /** @param {any[]} sessions the latest first */
  #show(sessions) {
    const live = new Set(sessions.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (!live.has(id)) this.#drop(id, row);
    }
    sessions.forEach((session, at) => {
      const row = this.#rows.get(session.id) ?? this.#add(session);
      row.update(session);
      const there = this.#list.children[at];
      if (there !== row.element) this.#list.insertBefore(row.element, there ?? null);
    });
    this.#list.hidden = !sessions.length;
    this.#nothing.hidden = sessions.length > 0;
    this.#title.replaceChildren("Live calls", sessions.length ? h("span", { class: "many" }, count(sessions.length)) : "");
  }

  /** @param {any} session */
  #add({ id }) {
    const row = new LiveRow(id, { listen: () => this.#toggleListening(row), hangUp: () => this.#hangUp(row) });
    this.#rows.set(id, row);
    return row;
  }

  /** @param {string} id @param {LiveRow} row */
  #drop(id, row) {
    if (this.#ear.id === id) this.#ear.stop();
    const next = row.element.contains(document.activeElement) && (row.element.nextElementSibling ?? this.#root);
    row.element.remove();
    this.#rows.delete(id);
    if (next) (next.querySelector("a") ?? this.#root).focus();
  }

  /** @param {LiveRow} row */
  async #toggleListening(row) {
    if (this.#ear.id === row.id) return this.#ear.stop();
    try {
      await this.#ear.listen(row.id, (listening) => row.showListening(listening));
    } catch (error) {
      row.fail(`Listening in did not work: ${explain(error)}`);
    }
  }

  /** @param {LiveRow} row */
  async #hangUp(row) {
    const text = `The client and the upstream of ${row.id} are disconnected at once. What was recorded of it stays.`;
    if (!(await confirmed({ title: "Hang up this call?", text, action: "Hang up" }))) return;
    try {
      await del(`sessions/${encodeURIComponent(row.id)}`);
      say("The call is hung up.");
    } catch (error) {
      if (error.status !== 404) row.fail(`It was not hung up: ${explain(error)}`);
    }
    await this.#refresh();
  }
}

/** Listens to one call at a time. */
class Ear {
  /** @type {string | null} */ id = null;
  #stop = () => {};

  /** @param {string} id @param {(listening: boolean) => void} onChange */
  async listen(id, onChange) {
    this.stop();
    this.id = id;
    onChange(true);
    let stopped = false;
    const end = () => {
      stopped = true;
      if (this.id === id) this.id = null;
      onChange(false);
    };
    this.#stop = end;
    try {
      const listening = await listen(id);
      if (stopped) return listening.stop();
      const silence = play(listening.stream);
      listening.onended = () => this.stop();
      this.#stop = () => {
        silence();
        listening.stop();
        end();
      };
    } catch (error) {
      if (!stopped) this.stop();
      throw error;
    }
  }

  stop() {
    const stop = this.#stop;
    this.#stop = () => {};
    stop();
  }
}

/** One call; its elements stay, so that the focus does. */
class LiveRow {
  #meters = { client: new Meter("client", "Client’s level"), upstream: new Meter("upstream", "Upstream’s level") };
  #elapsed = h("time", { class: "elapsed" });
  #model = h("span", { class: "model" });
  #owner = h("span", { class: "owner" });
  #turns = figure("turns");
  #tokens = figure("tokens");
  #cost = figure("cost");
  #problem = h("p", { class: "problem", role: "alert", hidden: true });
  #listen;
  #began = 0;

  /** @param {string} id @param {{listen: () => void, hangUp: () => void}} actions */
  constructor(id, actions) {
    this.id = id;
    this.#listen = h("button", { type: "button", "aria-pressed": "false", onclick: actions.listen }, icon("listen"), h("span", null, "Listen in"));
    const hangUp = h("button", { type: "button", class: "danger", onclick: actions.hangUp }, icon("hang-up"), "Hang up");
    this.element = h(
      "li",
      { class: "sheet live-call", "data-id": id },
      this.#elapsed,
      h("div", { class: "what" },
        h("a", { href: `#/sessions/${encodeURIComponent(id)}`, class: "id", title: id }, id),
        h("p", { class: "who" }, this.#model, this.#owner)),
      h("div", { class: "meters" },
        h("span", { class: "you", "aria-hidden": "true" }, "Client"), this.#meters.client.element,
        h("span", { class: "them", "aria-hidden": "true" }, "Upstream"), this.#meters.upstream.element),
      h("dl", { class: "figures" }, this.#turns.element, this.#tokens.element, this.#cost.element),
      h("div", { class: "does" }, this.#listen, hangUp),
      this.#problem,
    );
  }

  /** @param {any} session */
  update(session) {
    this.#began = performance.now() - session.duration_s * 1000; // the server's clock may be another
    this.tick();
    put(this.#model, session.model ?? "connecting");
    put(this.#owner, owner(session));
    this.#turns.show(count(session.turns), session.turns === 1 ? "turn" : "turns");
    this.#tokens.show(count(session.tokens));
    this.#cost.show(cost(session));
  }

  tick() {
    put(this.#elapsed, clock(performance.now() - this.#began));
  }

  /** @param {{client: number | null, upstream: number | null} | undefined} heard */
  hear(heard) {
    this.#meters.client.show(heard?.client);
    this.#meters.upstream.show(heard?.upstream);
  }

  /** @param {boolean} listening */
  showListening(listening) {
    this.#problem.hidden = true;
    this.#listen.setAttribute("aria-pressed", String(listening));
    put(this.#listen.lastChild, listening ? "Listening" : "Listen in");
  }

  /** @param {string} text */
  fail(text) {
    this.#problem.textContent = text;
    this.#problem.hidden = false;
  }
}

/** A figure with its name. @param {string} name */
function figure(name) {
  const value = h("dd");
  const title = h("dt", null, name);
  const show = (text, named = name) => {
    put(value, text);
    put(title, named);
  };
  return { element: h("div", null, title, value), show };
}

/** Writes only what has changed: nothing is drawn, or read aloud, again. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {any} session */
function owner({ key_id: key, owner: name }) {
  return key && name && key !== name ? `${key} (${name})` : (key ?? name ?? "");
}

/** @param {any} session */
function cost({ cost_usd: usd, unpriced_tokens: unpriced, approximate }) {
  if (usd === undefined) return "–";
  return `${unpriced ? "≥ " : approximate ? "≈ " : ""}${money(usd)}`; // what has no price is not in it
}
