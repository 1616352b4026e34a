/**
 * Both voices over the last seconds, drawn as two lanes that pass by. The gap between the end of one and the start
 * of the other is the latency; it is written into the gap.
 */

import { seconds } from "./dom.js";

const BAR_MS = 40;
const LATE_MS = 160;
const KEPT_BARS = 1000; // 40 s, more than the widest strip shows
const PIXELS_PER_SECOND = 56;
const BAR_WIDTH = 1.4;
const SHAPE = 1.7; // between a dB scale, where speech is a block, and a linear one, where it is a line
const LONGEST_WAIT_MS = 15_000; // then nobody answers, and the growing line says nothing new

/** @typedef {{at: number, you: number, them: number}} Bar levels from 0 to 1 */
/** @typedef {{from: number, to: number | null}} Wait in ms; `to` is null while it lasts */

export class VoiceStrip {
  #canvas;
  #context;
  /** @type {Bar[]} */ #bars = [];
  /** @type {Wait[]} */ #waits = [];
  #colours = { you: "", them: "", line: "", text: "" };
  #font = "";
  #redrawn = -Infinity;
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#readColours());
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#readColours();
  }

  clear() {
    this.#bars = [];
    this.#waits = [];
    this.draw(performance.now());
  }

  /** @param {number} at in ms @param {number} you @param {number} them levels from 0 to 1 */
  push(at, you, them) {
    const last = this.#bars.at(-1);
    const slot = Math.floor(at / BAR_MS) * BAR_MS;
    if (last?.at === slot) Object.assign(last, { you: Math.max(last.you, you), them: Math.max(last.them, them) });
    else {
      // A timer that comes a little late leaves no hole: what it brings was measured since it came last.
      const first = last && slot - last.at <= LATE_MS ? last.at + BAR_MS : slot;
      for (let missed = first; missed <= slot; missed += BAR_MS) this.#bars.push({ at: missed, you, them });
    }
    if (this.#bars.length > KEPT_BARS) this.#bars.splice(0, this.#bars.length - KEPT_BARS);
  }

  /** @param {Wait[]} waits */
  show(waits) {
    this.#waits = waits;
  }

  /** @param {number} now in ms: the right edge. With reduced motion it moves once a second only. */
  draw(now) {
    if (this.#still.matches && now - this.#redrawn < 1000) return;
    this.#redrawn = now;
    const { width, height } = this.#canvas;
    const scale = devicePixelRatio;
    this.#context.setTransform(scale, 0, 0, scale, 0, 0);
    this.#context.clearRect(0, 0, width, height);
    const size = { width: width / scale, height: height / scale };
    this.#drawWaits(now, size);
    this.#drawLane(now, size, "you", size.height / 4);
    this.#drawLane(now, size, "them", (size.height * 3) / 4);
  }

  /** @param {number} now @param {{width: number, height: number}} size @param {"you" | "them"} lane @param {number} y */
  #drawLane(now, { width, height }, lane, y) {
    const context = this.#context;
    const reach = height / 4 - 6;
    context.lineCap = "round";
    context.lineWidth = BAR_WIDTH;
    context.strokeStyle = this.#colours[lane];
    context.beginPath();
    for (const bar of this.#bars) {
      const x = width - ((now - bar.at) / 1000) * PIXELS_PER_SECOND;
      if (x < -2) continue;
      const half = Math.max(0.35, bar[lane] ** SHAPE * reach);
      context.moveTo(x, y - half);
      context.lineTo(x, y + half);
    }
    context.stroke();
  }

  /** @param {number} now @param {{width: number, height: number}} size */
  #drawWaits(now, { width, height }) {
    const context = this.#context;
    context.font = this.#font;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const { from, to } of this.#waits) {
      const end = to ?? now;
      const [left, right] = [from, end].map((at) => width - ((now - at) / 1000) * PIXELS_PER_SECOND);
      if (right < 0 || end - from > LONGEST_WAIT_MS) continue;
      context.fillStyle = this.#colours.line;
      context.fillRect(left, 4, Math.max(1, right - left), height - 8);
      context.fillStyle = this.#colours.text;
      if (end - from > 150) context.fillText(seconds(end - from), (left + right) / 2, height / 2);
    }
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    this.#canvas.width = Math.round(clientWidth * devicePixelRatio);
    this.#canvas.height = Math.round(clientHeight * devicePixelRatio);
    this.#redrawn = -Infinity;
    this.draw(performance.now());
  }

  #readColours() {
    const style = getComputedStyle(this.#canvas);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    this.#colours = { you: colour("--you"), them: colour("--them"), line: colour("--wait"), text: colour("--ink") };
    this.#font = `600 11px ${style.fontFamily}`;
  }
}
