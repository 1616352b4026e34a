/** Whose call it was, when, how it went, and what can be done with it. */

import { del, url } from "../api.js";
import { clock, count, h, icon, money, say } from "../dom.js";
import { listen, play } from "../listen.js";
import { confirmed, explain, tell } from "../parts.js";
import { glyph } from "./glyphs.js";
import { seconds } from "./responses.js";
import { responsesOf, spreadOf } from "./timings.js";

const STATES = { live: "Live", ended: "Ended", unfinished: "Unfinished" };
const UPLOADS = {
  waiting: "This call is not uploaded yet.",
  refused: "The upload of this call was refused by its target.",
  failed: "The upload of this call has failed: relay recordings upload gives it another try.",
};
const LISTENER_LOST = "Listening has ended.";

export class HeadView {
  #id;
  #told = "";
  /** @type {import("../listen.js").Listening | null} */ #listening = null;
  #hush = () => {};
  #facts = h("dl", { class: "facts" });
  #chip = h("span", { class: "state-chip" });
  #notices = h("div", { class: "notices" });
  #actions = h("div", { class: "actions" });
  #title = h("h1");
  element = h(
    "header",
    { class: "call-head" },
    h(
      "div",
      { class: "title" },
      h(
        "a",
        { class: "button quiet icon back", href: "#/sessions", "aria-label": "All calls", title: "All calls" },
        icon("back"),
      ),
      this.#title,
      this.#chip,
      this.#actions,
    ),
    this.#facts,
    this.#notices,
  );

  /** @param {any} session @param {() => void} over called when this session is not there any more */
  constructor(session, over) {
    this.#id = session.id;
    this.over = over;
    this.show(session);
    this.#actions.append(...(session.state === "live" ? this.#liveActions() : this.#storedActions(session)));
  }

  /** @param {any} session */
  show(session) {
    this.#title.replaceChildren(beginning(session.started_at));
    this.#chip.textContent = STATES[session.state] ?? session.state;
    this.#chip.dataset.state = session.state;
    this.#notices.replaceChildren(...noticesOf(session).map((text) => h("p", { class: "notice" }, text)));
    const facts = factsOf(session);
    const told = JSON.stringify(facts.slice(1)); // a live call's length is told by `duration`
    if (told === this.#told) return;
    this.#told = told;
    this.#facts.replaceChildren(
      ...facts.map(([label, value]) =>
        h(
          "div",
          null,
          h("dt", null, label),
          h("dd", { title: value }, label === "Session" ? h("code", null, value) : value),
        ),
      ),
    );
  }

  /** Where it is kept, as the index has it. @param {{upload: string, local: boolean}} row */
  showKept({ upload, local }) {
    const notice = UPLOADS[upload];
    if (notice) this.#notices.append(h("p", { class: "notice" }, notice));
    const where = [local && "here", upload === "uploaded" && "uploaded"].filter(Boolean).join(" and ");
    this.#facts.append(h("div", null, h("dt", null, "Kept"), h("dd", null, where || "–")));
  }

  /** A live call's length grows between two looks. @param {number} ms */
  set duration(ms) {
    const shown = this.#facts.querySelector("dd");
    if (shown) shown.textContent = clock(ms);
  }

  destroy() {
    this.#stopListening();
  }

  // -- live

  #liveActions() {
    const listening = h(
      "button",
      { type: "button", class: "listen", "aria-pressed": "false", onclick: () => this.#toggleListening(listening) },
      icon("listen"),
      h("span", null, "Listen in"),
    );
    return [
      listening,
      h("button", { type: "button", class: "danger", onclick: () => this.#hangUp() }, icon("hang-up"), "Hang up"),
    ];
  }

  /** @param {HTMLButtonElement} button */
  async #toggleListening(button) {
    if (this.#listening) {
      this.#stopListening();
      return pressed(button, false);
    }
    button.disabled = true;
    try {
      this.#listening = await listen(this.#id);
      this.#hush = play(this.#listening.stream);
      this.#listening.onended = () => (this.#stopListening(), pressed(button, false), say(LISTENER_LOST));
      pressed(button, true);
    } catch (error) {
      tell("Listening in did not work", h("p", null, explain(error)));
    } finally {
      button.disabled = false;
    }
  }

  #stopListening() {
    this.#hush();
    this.#hush = () => {};
    this.#listening?.stop();
    this.#listening = null;
  }

  async #hangUp() {
    const sure = await confirmed({
      title: "Hang up this call?",
      text: "Both sides are disconnected at once.",
      action: "Hang up",
    });
    if (!sure) return;
    try {
      await del(`sessions/${encodeURIComponent(this.#id)}`);
      say("The call was hung up.");
    } catch (error) {
      tell("The call was not hung up", h("p", null, explain(error)));
    }
  }

  // -- stored

  /** @param {any} session */
  #storedActions(session) {
    const menu = h(
      "details",
      { class: "menu" },
      h("summary", { class: "button" }, glyph("download"), "Download"),
      h(
        "ul",
        { class: "sheet" },
        downloadsOf(session).map(([label, href, name]) => h("li", null, h("a", { href, download: name }, label))),
      ),
    );
    menu.addEventListener("focusout", (/** @type {FocusEvent} */ event) => {
      if (!(event.relatedTarget instanceof Node && menu.contains(event.relatedTarget))) menu.open = false;
    });
    menu.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") ((menu.open = false), menu.querySelector("summary").focus());
    });
    return [
      menu,
      h("button", { type: "button", class: "danger", onclick: () => this.#delete() }, icon("delete"), "Delete"),
    ];
  }

  async #delete() {
    const sure = await confirmed({
      title: "Delete this call?",
      text: "Audio, events and transcript are deleted here, in the index and where they were uploaded to. This cannot be undone.",
      action: "Delete",
    });
    if (!sure) return;
    try {
      await del(`recordings/${encodeURIComponent(this.#id)}`);
      say("The call was deleted.");
      this.over();
    } catch (error) {
      tell("The call was not deleted", h("p", null, explain(error)));
    }
  }
}

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/** @param {string} iso */
function beginning(iso) {
  const at = new Date(iso);
  return h("time", { datetime: iso, title: EXACT.format(at) }, DATE.format(at));
}

/** @param {HTMLButtonElement} button @param {boolean} on */
function pressed(button, on) {
  button.setAttribute("aria-pressed", String(on));
  const label = button.querySelector("span");
  if (label) label.textContent = on ? "Listening" : "Listen in";
}

/** @param {any} session @returns {[string, any][]} */
function factsOf(session) {
  const { usage, responses, end } = session;
  const latency = spreadOf(responsesOf(responses?.timings));
  const tokens = usage?.tokens ? totalOf(usage.tokens) : 0;
  /** @type {[string, any][]} */
  const facts = [
    ["Length", session.duration_s == null ? "–" : clock(session.duration_s * 1000)],
    ["Cost", usage ? `${usage.approximate ? "≈ " : ""}${money(usage.cost_usd)}` : "–"],
    ["Tokens", count(tokens)],
    ["Answered within", latency.count ? `${seconds(latency.p50)} (95 %: ${seconds(latency.p95)})` : "–"],
    ["Model", session.model ?? "–"],
    ["Owner", session.owner || "–"],
  ];
  if (session.key_id && session.key_id !== session.owner) facts.push(["Key", session.key_id]);
  if (session.state === "live") facts.push(["Listeners", count(session.listeners ?? 0)]);
  else facts.push(["Ended", endOf(end)]);
  facts.push(["Session", session.id]);
  return facts;
}

/** @param {any} end */
function endOf(end) {
  if (!end) return "its process went away";
  return [end.outcome, end.reason].filter(Boolean).join(", ").replaceAll("_", " ");
}

/** @param {any} tokens */
function totalOf({ input = {}, output = {}, unknown = 0 }) {
  return [...Object.values(input), ...Object.values(output), unknown].reduce((a, b) => a + b, 0);
}

/** What is not as it should be. @param {any} session @returns {string[]} */
export function noticesOf({ state, recording, reading, mix }) {
  const lost = recording?.lost ?? {};
  const missing = [
    lost.events && `${count(lost.events)} events`,
    lost.packets && `${count(lost.packets)} packets`,
    lost.audio_s && `${lost.audio_s.toFixed(1)} s of audio`,
  ].filter(Boolean);
  return [
    missing.length && `The record lacks ${missing.join(" and ")}: the disk did not keep up, or was full.`,
    recording?.missing && `The record lacks: ${recording.missing}`,
    reading?.lost &&
      `${count(reading.lost)} events came too fast to be read: transcript, usage and times may lack something.`,
    state === "unfinished" &&
      "The relay's process ended during this call. Its last second may be missing, and the chain of events has no end record.",
    mix?.state === "failed" && `The stereo mix could not be made: ${mix.reason ?? "unknown"}`,
  ].filter((text) => typeof text === "string");
}

/** @param {any} session @returns {[string, string, string][]} label, address, file name */
function downloadsOf({ id, audio }) {
  const at = `sessions/${encodeURIComponent(id)}`;
  const files = sourcesOf({ id, audio }, ["client", "upstream", "mix"]).map(
    ({ side, url: href, name }) =>
      /** @type {[string, string, string]} */ ([
        `${LABELS[side]} (${name.split(".").slice(1).join(".")})`,
        href,
        `${id}.${name}`,
      ]),
  );
  return [
    ...files,
    ["Events (jsonl)", url(`${at}/events`), `${id}.events.jsonl`],
    ["Transcript (text)", url(`${at}/transcript.txt`), `${id}.transcript.txt`],
    ["Transcript (WebVTT)", url(`${at}/transcript.vtt`), `${id}.transcript.vtt`],
    ["Transcript (JSON)", url(`${at}/transcript.json`), `${id}.transcript.json`],
  ];
}

const LABELS = { client: "Client's audio", upstream: "Upstream's audio", mix: "Both, stereo" };

/**
 * The audio files there are: a side that changed its codec has several.
 * @param {any} session @param {string[]} sides @returns {{side: string, url: string, name: string}[]}
 */
export function sourcesOf({ id, audio }, sides) {
  return sides.flatMap((side) =>
    (audio?.[side] ?? []).map((/** @type {string} */ name) => {
      const codec = name.endsWith(".ogg") ? "opus" : name.split(".").at(-2);
      const query = side === "mix" ? {} : { codec };
      return { side, name, url: url(`sessions/${encodeURIComponent(id)}/audio/${side}`, query) };
    }),
  );
}
