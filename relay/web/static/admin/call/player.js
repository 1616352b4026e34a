/** Plays the sides of a call together: an audio element a file, of which one leads and the others follow. */

import { h } from "../dom.js";
import { correction, leaderOf } from "./clocklock.js";

const LOCK_MS = 100;
const END_S = 0.05; // an element that is so near its end has ended

/** @typedef {{side: string, url: string}} Source */

export class Player {
  /** @type {{side: string, audio: HTMLAudioElement}[]} */ #tracks;
  #leader = 0;
  #at = 0; // seconds, while nothing plays
  #playing = false;
  #rate = 1;
  #muted = new Set();
  /** @type {string | null} */ #solo = null;
  #timer = 0;
  #frame = 0;
  #told;

  /**
   * @param {Source[]} sources @param {number} duration in seconds, of the call
   * @param {{time(at: number): void, state(): void, failed(side: string): void}} told
   */
  constructor(sources, duration, told) {
    this.#told = told;
    this.duration = duration;
    this.#tracks = sources.map(({ side, url }) => ({ side, audio: this.#element(side, url) }));
  }

  /** @param {string} side @param {string} url */
  #element(side, url) {
    const audio = h("audio", { dataset: { side }, preload: "metadata", src: url });
    audio.addEventListener("durationchange", () => this.#measure());
    audio.addEventListener("error", () => this.#told.failed(side));
    return audio;
  }

  get elements() {
    return this.#tracks.map(({ audio }) => audio);
  }

  get playing() {
    return this.#playing;
  }

  get rate() {
    return this.#rate;
  }

  get at() {
    return this.#playing && this.#tracks[this.#leader] ? this.#tracks[this.#leader].audio.currentTime : this.#at;
  }

  /** A file may be longer than the call was told to be, never cut what can be heard. */
  #measure() {
    for (const { audio } of this.#tracks) {
      if (Number.isFinite(audio.duration)) this.duration = Math.max(this.duration, audio.duration);
    }
    this.#told.state();
  }

  toggle() {
    return this.#playing ? this.pause() : this.play();
  }

  async play() {
    if (this.#playing || this.#tracks.length === 0) return;
    if (this.#at >= this.duration - END_S) this.#place(0);
    this.#leader = leaderOf(this.#lengths(), this.#leader) ?? 0;
    this.#playing = true;
    this.#timer = setInterval(() => this.#lock(), LOCK_MS);
    this.#frame = requestAnimationFrame(() => this.#tick());
    this.#told.state();
    await Promise.all(this.#going().map((audio) => start(audio)));
  }

  pause() {
    this.#at = this.at;
    this.#playing = false;
    clearInterval(this.#timer);
    cancelAnimationFrame(this.#frame);
    for (const { audio } of this.#tracks) audio.pause();
    for (const { audio } of this.#tracks) if (!ended(audio, this.#at)) audio.currentTime = this.#at;
    this.#told.time(this.#at);
    this.#told.state();
  }

  /** @param {number} at seconds into the call */
  seek(at) {
    this.#place(Math.max(0, Math.min(at, this.duration)));
    if (this.#playing) {
      this.#leader = leaderOf(this.#lengths(), this.#leader) ?? this.#leader;
      for (const audio of this.#going()) if (audio.paused) start(audio);
    }
    this.#told.time(this.#at);
  }

  /** @param {number} at */
  #place(at) {
    this.#at = at;
    for (const { audio } of this.#tracks)
      audio.currentTime = Number.isFinite(audio.duration) ? Math.min(at, audio.duration) : at;
  }

  /** @param {number} rate */
  setRate(rate) {
    this.#rate = rate;
    for (const { audio } of this.#tracks) audio.playbackRate = rate;
    this.#told.state();
  }

  /** @param {string} side @param {boolean} muted */
  mute(side, muted) {
    if (muted) this.#muted.add(side);
    else this.#muted.delete(side);
    this.#mix();
  }

  /** @param {string | null} side the one that is heard alone */
  solo(side) {
    this.#solo = side;
    this.#mix();
  }

  /** @param {string} side */
  isMuted(side) {
    return this.#muted.has(side);
  }

  /** @param {string} side */
  isSolo(side) {
    return this.#solo === side;
  }

  #mix() {
    for (const { side, audio } of this.#tracks) {
      audio.muted = this.#muted.has(side) || (this.#solo !== null && this.#solo !== side);
    }
    this.#told.state();
  }

  /** Stops, and lets go what the browser has loaded. */
  close() {
    if (this.#playing) this.pause();
    for (const { audio } of this.#tracks) {
      audio.removeAttribute("src");
      audio.load();
      audio.remove();
    }
    this.#tracks = [];
  }

  /** The elements that have something to play at this moment. */
  #going() {
    return this.#tracks.filter(({ audio }) => !ended(audio, this.#at)).map(({ audio }) => audio);
  }

  #lengths() {
    return this.#tracks.map(({ audio }) => ({ duration: audio.duration || 0, ended: ended(audio, this.#at) }));
  }

  #tick() {
    this.#told.time(this.at);
    this.#frame = requestAnimationFrame(() => this.#tick());
  }

  #lock() {
    this.#at = this.at;
    const leader = leaderOf(this.#lengths(), this.#leader);
    if (leader === null) return this.pause();
    this.#leader = leader;
    const lead = this.#tracks[leader].audio;
    lead.playbackRate = this.#rate;
    for (const { audio } of this.#tracks) {
      if (audio === lead || audio.seeking || lead.seeking || ended(audio, this.#at)) continue;
      if (audio.paused) start(audio);
      const { seek, rate } = correction(lead.currentTime, audio.currentTime, this.#rate);
      if (seek) audio.currentTime = lead.currentTime;
      if (audio.playbackRate !== rate) audio.playbackRate = rate;
    }
  }
}

/** @param {HTMLAudioElement} audio @param {number} at */
function ended(audio, at) {
  return audio.error !== null || (Number.isFinite(audio.duration) && at >= audio.duration - END_S);
}

/** A play that is cut off by a pause is no failure. @param {HTMLAudioElement} audio */
function start(audio) {
  return audio.play().catch((/** @type {DOMException} */ error) => {
    if (error.name !== "AbortError") console.warn(error);
  });
}
