/** Below the waveform, on its clock: the time, and how long each answer was waited for. */

import { clock } from "../dom.js";

const HEIGHT = 34;
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const LABEL_PX = 64;
const BAR_TOP = 2;
const BAR_HEIGHT = 9;
const NARROWEST_PX = 2;
const HIT_PX = 6;

/** @typedef {import("./timings.js").Response} Response */

export class Lane {
  #canvas;
  /** @type {Response[]} */ #responses = [];
  #range = { from: 0, to: 1 };
  #resized = new ResizeObserver(() => this.draw());
  #onTheme = () => this.draw();

  /** @param {HTMLCanvasElement} canvas @param {(at: number) => void} seek */
  constructor(canvas, seek) {
    this.#canvas = canvas;
    canvas.addEventListener("click", (event) => {
      const { response, at } = this.#find(event.offsetX);
      seek(response ? response.from / 1000 : at);
    });
    canvas.addEventListener("pointermove", (event) => {
      const { response } = this.#find(event.offsetX);
      canvas.title = response ? describe(response) : "";
    });
    this.#resized.observe(canvas);
    document.addEventListener("themechange", this.#onTheme);
  }

  /** @param {Response[]} responses */
  show(responses) {
    this.#responses = responses;
    this.draw();
  }

  /** @param {{from: number, to: number}} range in seconds */
  set range(range) {
    this.#range = range;
    this.draw();
  }

  destroy() {
    this.#resized.disconnect();
    document.removeEventListener("themechange", this.#onTheme);
  }

  draw() {
    const { clientWidth: width } = this.#canvas;
    const context = this.#canvas.getContext("2d");
    if (!context || width === 0) return;
    this.#canvas.width = Math.round(width * devicePixelRatio);
    this.#canvas.height = Math.round(HEIGHT * devicePixelRatio);
    context.scale(devicePixelRatio, devicePixelRatio);
    this.#drawTime(context, width);
    this.#drawWaits(context);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} width */
  #drawTime(context, width) {
    const { from, to } = this.#range;
    const step = STEPS_S.find((seconds) => (seconds / (to - from)) * width >= LABEL_PX) ?? 3600;
    const style = getComputedStyle(this.#canvas);
    context.font = `11px ${style.fontFamily}`;
    context.fillStyle = style.getPropertyValue("--soft");
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      const x = this.#x(at * 1000);
      context.fillRect(Math.round(x), 16, 1, 4);
      context.textAlign = x < 12 ? "left" : x > width - 18 ? "right" : "center";
      context.fillText(clock(at * 1000), x, HEIGHT - 3);
    }
  }

  /** @param {CanvasRenderingContext2D} context */
  #drawWaits(context) {
    const style = getComputedStyle(this.#canvas);
    const [usual, slow] = ["--edge", "--bad"].map((name) => style.getPropertyValue(name));
    for (const response of this.#responses) {
      if (response.latency === null || response.audible === null) continue;
      const from = this.#x(response.from);
      context.fillStyle = response.slow ? slow : usual;
      context.beginPath();
      context.roundRect(from, BAR_TOP, Math.max(NARROWEST_PX, this.#x(response.audible) - from), BAR_HEIGHT, 2);
      context.fill();
    }
  }

  /** @param {number} ms */
  #x(ms) {
    const { from, to } = this.#range;
    return ((ms / 1000 - from) / (to - from)) * this.#canvas.clientWidth;
  }

  /** @param {number} x @returns {{response: Response | undefined, at: number}} */
  #find(x) {
    const { from, to } = this.#range;
    const at = from + (x / this.#canvas.clientWidth) * (to - from);
    const response = this.#responses.find(
      ({ from: begin, audible }) => audible !== null && x >= this.#x(begin) - HIT_PX && x <= this.#x(audible) + HIT_PX,
    );
    return { response, at };
  }
}

/** @param {Response} response */
export function describe({ latency, slow, at }) {
  return `${clock(at)}: ${((latency ?? 0) / 1000).toFixed(2)} s until the answer${slow ? ", slow" : ""}`;
}
