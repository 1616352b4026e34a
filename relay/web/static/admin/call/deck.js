/** The waveform of both sides on one clock, with the player below it. */

import { ApiError } from "../api.js";
import { clock, h } from "../dom.js";
import { explain } from "../parts.js";
import { glyph } from "./glyphs.js";
import { sourcesOf } from "./head.js";
import { Lane } from "./lane.js";
import { Player } from "./player.js";
import { loadWaveform, WaveformView } from "./waveform.js";

export const STEP_S = 5;
const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2, 3];
const SIDES = [
  ["client", "Client", "you"],
  ["upstream", "Upstream", "them"],
];

export class Deck {
  #id;
  #told;
  #player;
  #wave;
  #lane;
  #sides;
  #gone = new AbortController();
  #shown = -1;
  #hint = h("p", { class: "hint", role: "status" });
  #problem = h("p", { class: "problem", role: "alert", hidden: true });
  #play = h("button", { type: "button", class: "play", onclick: () => this.#player.toggle() });
  #time = h("output", { class: "time" });
  #slider = h("div", { class: "wave", role: "slider", tabindex: "0", "aria-label": "Position in the call" });
  #canvas = h("canvas", { class: "lane", "aria-hidden": "true" });
  #speed = h(
    "select",
    { "aria-label": "Speed", onchange: () => this.#player.setRate(Number(this.#speed.value)) },
    SPEEDS.map((rate) => h("option", { value: rate, selected: rate === 1 }, `${rate}×`)),
  );
  element = h("section", { class: "sheet deck", "aria-label": "Player" });

  /** @param {any} session @param {{time(at: number): void}} told */
  constructor(session, told) {
    this.#id = session.id;
    this.#told = told;
    const duration = Math.max(0.1, session.duration_s ?? lastOf(session.recording));
    const sources = sourcesOf(session, ["client", "upstream"]);
    this.#player = new Player(sources, duration, {
      time: (at) => this.#onTime(at),
      state: () => this.#onState(),
      failed: (side) => this.#fail(`The ${side}'s audio cannot be played.`),
    });
    this.#sides = SIDES.map(([side, label, voice]) =>
      this.#side(
        side,
        label,
        voice,
        sources.some((source) => source.side === side),
      ),
    );
    this.#build();
    this.#wave = new WaveformView(this.#slider, duration, {
      seek: (at) => this.seek(at),
      range: () => this.#onRange(),
    });
    this.#lane = new Lane(this.#canvas, (at) => this.seek(at));
    this.#onTime(0);
    this.#onState();
  }

  #build() {
    const skip = (/** @type {number} */ seconds, /** @type {"back" | "on"} */ sign) =>
      h(
        "button",
        {
          type: "button",
          class: "quiet icon",
          "aria-label": `${Math.abs(seconds)} seconds ${seconds < 0 ? "back" : "on"}`,
          onclick: () => this.step(seconds),
        },
        glyph(sign),
      );
    const near = (/** @type {number} */ step, /** @type {"near" | "far"} */ sign, /** @type {string} */ label) =>
      h(
        "button",
        {
          type: "button",
          class: "quiet icon",
          "aria-label": label,
          title: label,
          onclick: () => (this.#wave.zoom(step), this.#onRange()),
        },
        glyph(sign),
      );
    this.element.append(
      h(
        "div",
        { class: "lanes" },
        h(
          "div",
          { class: "sides" },
          this.#sides.map(({ element }) => element),
        ),
        h("div", { class: "clockwork" }, this.#slider, this.#canvas),
      ),
      h(
        "div",
        { class: "transport" },
        skip(-STEP_S, "back"),
        this.#play,
        skip(STEP_S, "on"),
        this.#time,
        this.#hint,
        this.#problem,
        h("span", { class: "legend" }, h("i"), "wait for an answer", h("i", { class: "slow" }), "slow"),
        h(
          "span",
          { class: "zoom" },
          near(-1, "far", "Show more of the call"),
          near(1, "near", "Show less of the call"),
        ),
        this.#speed,
      ),
      ...this.#player.elements,
    );
  }

  /** @param {string} side @param {string} label @param {string} voice @param {boolean} has */
  #side(side, label, voice, has) {
    const mute = h("button", {
      type: "button",
      class: "quiet icon",
      "aria-label": `Mute ${label.toLowerCase()}`,
      title: "Mute",
      disabled: !has,
      onclick: () => this.#player.mute(side, !this.#player.isMuted(side)),
    });
    const solo = h(
      "button",
      {
        type: "button",
        class: "quiet solo",
        "aria-label": `${label} alone`,
        title: "Hear this side alone",
        disabled: !has,
        onclick: () => this.#player.solo(this.#player.isSolo(side) ? null : side),
      },
      "Solo",
    );
    const element = h("div", { class: `side ${voice}` }, h("b", null, label), h("span", null, mute, solo));
    return { side, mute, solo, element };
  }

  /** @param {any} session whose audio it is */
  async load(session) {
    if (!this.#player.elements.length) {
      const mode = session.recording?.mode;
      this.#hint.textContent =
        mode === "events" ? "Only events are recorded (recording.mode = events)." : "This call has no audio.";
      this.element.classList.add("mute");
      return;
    }
    try {
      const waveform = await loadWaveform(
        this.#id,
        this.#gone.signal,
        () => (this.#hint.textContent = "The waveform is being made …"),
      );
      if (this.#gone.signal.aborted) return;
      this.#hint.textContent = waveform ? "" : "The waveform is not ready yet; open the page again later.";
      if (waveform) this.#wave.show(waveform);
      this.element.dataset.drawn = String(Boolean(waveform));
    } catch (error) {
      if (this.#gone.signal.aborted) return;
      const none = error instanceof ApiError && error.status === 404;
      this.#hint.textContent = none ? "There is no waveform of this call." : "";
      if (!none) this.#fail(explain(error));
    }
  }

  /** @param {import("./timings.js").Response[]} responses */
  showResponses(responses) {
    this.#lane.show(responses);
  }

  get playing() {
    return this.#player.playing;
  }

  toggle() {
    this.#player.toggle();
  }

  /** @param {number} at seconds */
  seek(at) {
    this.#player.seek(at);
  }

  /** @param {number} seconds to go on, or back */
  step(seconds) {
    this.#player.seek(this.#player.at + seconds);
  }

  destroy() {
    this.#gone.abort();
    this.#player.close();
    this.#lane.destroy();
    this.#wave.destroy();
  }

  /** @param {number} at */
  #onTime(at) {
    if (!this.#wave) return;
    this.#wave.time = at;
    this.#told.time(at);
    const whole = Math.floor(at);
    if (whole === this.#shown) return;
    this.#shown = whole;
    this.#tellTime();
  }

  #tellTime() {
    const now = clock(this.#shown * 1000);
    const all = clock(this.#player.duration * 1000);
    this.#time.replaceChildren(h("b", null, now), ` / ${all}`);
    this.#slider.setAttribute("aria-valuenow", String(Math.max(0, this.#shown)));
    this.#slider.setAttribute("aria-valuemax", String(Math.round(this.#player.duration)));
    this.#slider.setAttribute("aria-valuemin", "0");
    this.#slider.setAttribute("aria-valuetext", `${now} of ${all}`);
  }

  #onState() {
    if (!this.#wave) return;
    const { playing } = this.#player;
    this.#play.replaceChildren(glyph(playing ? "pause" : "play"));
    this.#play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.#play.disabled = !this.#player.elements.length;
    for (const { side, mute, solo } of this.#sides) {
      const muted = this.#player.isMuted(side);
      mute.replaceChildren(glyph(muted ? "mute" : "sound"));
      mute.setAttribute("aria-pressed", String(muted));
      solo.setAttribute("aria-pressed", String(this.#player.isSolo(side)));
    }
    this.#tellTime();
  }

  #onRange() {
    if (this.#lane) this.#lane.range = this.#wave.range;
  }

  /** @param {string} text */
  #fail(text) {
    this.#problem.textContent = text;
    this.#problem.hidden = false;
  }
}

/** How long the audio is, where nobody told how long the call was. @param {any} recording */
function lastOf(recording) {
  return Math.max(
    0,
    ...(Array.isArray(recording?.audio) ? recording.audio : []).map(
      (/** @type {any} */ { duration_s }) => duration_s ?? 0,
    ),
  );
}
