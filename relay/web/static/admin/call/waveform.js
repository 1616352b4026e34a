/** Both voices over the whole call, drawn by wavesurfer from what the server has measured: nothing is decoded here. */

import { request, url } from "../api.js";
import WaveSurfer from "../vendor/wavesurfer/wavesurfer.js";
import { peaksOf } from "./peaks.js";

const HEIGHT = 56; // of a lane; the hash of wavesurfer's style in relay/web/dashboard.py is for this number
const FLAT = 4000; // points of a line, until the waveform is there
const MOST_PX_PER_S = 200;
const TRIES = 60;

export class WaveformView {
  #surfer;
  #duration;
  #zoom = 0;
  #at = 0;
  #onTheme = () => this.#surfer.setOptions({ splitChannels: lanes() });
  #told;

  /**
   * @param {HTMLElement} root @param {number} duration of the call in seconds
   * @param {{seek(at: number): void, range(): void}} told
   */
  constructor(root, duration, told) {
    this.#told = told;
    this.#duration = Math.max(0.1, duration);
    const flat = [new Float32Array(FLAT), new Float32Array(FLAT)];
    this.#surfer = WaveSurfer.create({ ...look(), container: root, peaks: flat, duration: this.#duration });
    this.#surfer.on("interaction", (/** @type {number} */ at) => told.seek(at));
    this.#surfer.on("ready", () => this.#surfer.setTime(this.#at)); // what is loaded begins at 0
    for (const moved of ["scroll", "zoom", "redraw", "resize"]) this.#surfer.on(moved, () => told.range());
    document.addEventListener("themechange", this.#onTheme);
  }

  /** @param {import("./peaks.js").Waveform} waveform */
  show(waveform) {
    const { channels, duration, loudest } = peaksOf(waveform);
    this.#duration = Math.max(this.#duration, duration);
    const [client, upstream] = channels.map((channel) => stretched(channel, this.#duration / duration));
    this.#surfer.setOptions({ maxPeak: loudest });
    this.#surfer.load("", [client, upstream ?? client], this.#duration);
  }

  get duration() {
    return this.#duration;
  }

  /** @param {number} at in seconds */
  set time(at) {
    this.#at = Math.min(at, this.#duration);
    this.#surfer.setTime(this.#at);
  }

  /** The part of the call that is to be seen, in seconds. */
  get range() {
    const whole = this.#surfer.getWrapper().scrollWidth || 1;
    const from = (this.#surfer.getScroll() / whole) * this.#duration;
    return { from, to: from + (this.#surfer.getWidth() / whole) * this.#duration };
  }

  /** @param {number} step 1 is nearer, -1 further, by the factor of two */
  zoom(step) {
    const whole = this.#surfer.getWidth() / this.#duration;
    const now = Math.max(whole, this.#zoom);
    const next = Math.min(Math.max(MOST_PX_PER_S, whole), now * 2 ** step);
    this.#zoom = next > whole * 1.01 ? next : 0;
    this.#surfer.zoom(this.#zoom);
  }

  destroy() {
    document.removeEventListener("themechange", this.#onTheme);
    this.#surfer.destroy();
  }
}

function look() {
  return {
    height: HEIGHT,
    splitChannels: lanes(),
    cursorColor: colour("--ink"),
    cursorWidth: 1,
    barWidth: 2,
    barGap: 1,
    barRadius: 1,
    barMinHeight: 1,
    normalize: true,
    dragToSeek: { debounceTime: 0 },
    hideScrollbar: false,
    autoScroll: true,
    autoCenter: false,
  };
}

/** What has been played is in full colour, what has not is paler. */
function lanes() {
  return ["--you", "--them"].map((name) => ({
    height: HEIGHT,
    progressColor: colour(name),
    waveColor: `color-mix(in srgb, ${colour(name)} 55%, ${colour("--sheet")})`,
  }));
}

/** @param {string} name */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** With silence behind it: audio that ends before the call does. @param {Float32Array} peaks @param {number} factor */
function stretched(peaks, factor) {
  if (factor <= 1) return peaks;
  const longer = new Float32Array(Math.ceil(peaks.length * factor));
  longer.set(peaks);
  return longer;
}

/**
 * The measured waveform, as soon as the server has made it. Throws ApiError; null where there is none.
 *
 * @param {string} id @param {AbortSignal} signal @param {() => void} waiting called once, if it takes time
 * @returns {Promise<import("./peaks.js").Waveform | null>}
 */
export async function loadWaveform(id, signal, waiting) {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const response = await request(url(`sessions/${encodeURIComponent(id)}/waveform`), { signal });
    if (response.status !== 202) return response.json();
    if (attempt === 0) waiting();
    await pause(Math.min(10, Math.max(0.5, Number(response.headers.get("Retry-After")) || 1)), signal);
  }
  return null;
}

/** @param {number} seconds @param {AbortSignal} signal */
function pause(seconds, signal) {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), fail(signal.reason)), { once: true });
  });
}
