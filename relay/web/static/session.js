/** One call of the demo page from the click on Start to its end: voice in, voice out, events, figures. */

import { connect } from "../relay.js";
import { Meter, Microphone, SampleVoice } from "./audio.js";
import { LatencyLog } from "./latency.js";
import { readPath } from "./path.js";
import { Transcript } from "./transcript.js";

const SAMPLE_MS = 20; // how often the meters look
const STATS_MS = 1000;
const SAMPLES = ["sample-1.ogg", "sample-2.ogg", "sample-3.ogg"].map((name) => new URL(name, import.meta.url));
const TRANSCRIPTION_MODEL = "gpt-transcribe";
const TRANSCRIPTION_EVENT = "demo_transcription"; // a refusal of it is no business of the reader's

/** @typedef {{type: string, [field: string]: any}} Event */
/** @typedef {import("./audio.js").Source} Source */

/**
 * Who looks on. All are called synchronously and must be quick.
 *
 * @typedef {object} Observer
 * @property {(state: import("../relay.js").CallState, error: import("../relay.js").CallError | null) => void} onState
 * @property {(way: "sent" | "received", event: Event, at: number) => void} onEvent after it has taken effect here
 * @property {(you: number, them: number, at: number) => void} onLevels from 0 to 1, fifty times a second
 * @property {() => void} onHeard the assistant's voice began to sound
 * @property {(stream: MediaStream) => void} onVoice the assistant's
 * @property {(groups: {title: string, rows: import("./path.js").Rows}[]) => void} onPath once a second
 * @property {(message: string) => void} onError fit to be shown
 */

/**
 * @typedef {object} Choice
 * @property {boolean} sample the sample voice instead of the microphone
 * @property {string} key the relay's, or ""
 * @property {object | null} session fields of the GA session, or null to leave all to the relay
 */

export class Session {
  transcript = new Transcript();
  latency = new LatencyLog();
  startedAt = performance.now();
  muted = false;
  /** @type {import("../relay.js").Call | null} */ #call = null;
  /** @type {Source | null} */ #source = null;
  /** @type {string | null} */ #responding = null; // the response being made
  /** @type {string | null} */ #playing = null; // the response being heard
  #answerWhenDone = false;
  #abort = new AbortController();
  /** @type {number[]} */ #timers = [];
  #context;
  #observer;
  #you;
  #them;

  /** @param {AudioContext} context @param {Observer} observer */
  constructor(context, observer) {
    this.#context = context;
    this.#observer = observer;
    this.#you = new Meter(context);
    this.#them = new Meter(context);
  }

  get canInterrupt() {
    return this.#responding !== null || this.#playing !== null;
  }

  get speaksSamples() {
    return this.#source instanceof SampleVoice;
  }

  /** Open voice and call. Rejects with an error whose message can be shown. @param {Choice} choice */
  async open({ sample, key, session }) {
    const source = await (sample ? SampleVoice.open(this.#context, SAMPLES) : Microphone.open(this.#context));
    this.#source = source;
    if (this.#abort.signal.aborted) return source.close(); // given up while the browser asked
    this.#you.listen(source.output);
    this.#call = await connect({
      url: new URL("v1/realtime/calls", document.baseURI),
      token: key || undefined,
      stream: source.stream,
      session: session ? { type: "realtime", ...session } : undefined,
      signal: this.#abort.signal,
      onTrack: (stream) => this.#hear(stream),
      onEvent: (event) => this.#received(event),
      onState: (state, error) => this.#observer.onState(state, error),
    });
    this.startedAt = performance.now();
    this.#every(SAMPLE_MS, () => this.#sample());
    this.#every(STATS_MS, () => this.#lookAtPath());
    this.#lookAtPath();
    this.say();
  }

  /** End the call, in any phase of it. */
  async hangUp() {
    if (this.#call) await this.#call.hangUp();
    else this.#abort.abort();
  }

  /** Release everything. The call is over, or never was. */
  close() {
    this.#abort.abort();
    for (const timer of this.#timers) clearInterval(timer);
    this.#source?.close();
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    this.#source?.mute(muted);
  }

  /** The sample voice says its next phrase. A microphone has none. */
  say() {
    if (this.#source instanceof SampleVoice) this.#source.say();
  }

  /** Stop the assistant: no more is made, and what is made is not played. */
  interrupt() {
    if (this.#responding) this.send({ type: "response.cancel" });
    if (this.#playing) this.send({ type: "output_audio_buffer.clear" });
  }

  /** @param {string} text a typed message; it interrupts, as a spoken one would */
  write(text) {
    this.interrupt();
    const content = [{ type: "input_text", text }];
    this.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    // A second response is refused while one is being made, also while that is being cancelled.
    if (this.#responding) this.#answerWhenDone = true;
    else this.send({ type: "response.create" });
  }

  /** @param {Event} event */
  send(event) {
    const at = performance.now();
    try {
      this.#call?.send(event);
    } catch (error) {
      this.#observer.onError(error instanceof Error ? error.message : String(error));
      return;
    }
    this.latency.sent(event, at);
    this.#observer.onEvent("sent", event, at);
  }

  /** What was waited for and how long, in ms; the last has no end while it lasts. */
  get waits() {
    const answered = this.latency.answers.filter(({ trigger, audibleAt }) => trigger !== "server" && audibleAt !== null);
    const waits = answered.slice(-8).map(({ from, audibleAt }) => ({ from, to: audibleAt }));
    const since = this.latency.waitingSince;
    return since === null ? waits : [...waits, { from: since, to: null }];
  }

  /** @param {Event} event */
  #received(event) {
    const at = performance.now();
    this.latency.received(event, at);
    this.transcript.apply(event, at);
    this.#follow(event);
    this.#observer.onEvent("received", event, at);
    this.#react(event);
  }

  /** @param {Event} event */
  #follow(event) {
    if (event.type === "response.created") this.#responding = event.response.id;
    else if (event.type === "response.done") this.#responding = null;
    else if (event.type === "output_audio_buffer.started") this.#playing = event.response_id;
    else if (/^output_audio_buffer\.(stopped|cleared)$/.test(event.type)) this.#playing = null;
  }

  /** @param {Event} event */
  #react(event) {
    if (event.type === "session.created") this.#wantTranscription(event.session);
    else if (event.type === "error" && event.error?.event_id !== TRANSCRIPTION_EVENT) {
      this.#observer.onError(event.error?.message ?? "The server reported an error.");
    } else if (event.type === "response.done" && this.#answerWhenDone) {
      this.#answerWhenDone = false;
      this.send({ type: "response.create" });
    }
  }

  /** Without a transcription model there would be no words of yours to show. @param {any} session */
  #wantTranscription(session) {
    if (session?.audio?.input?.transcription) return;
    const input = { transcription: { model: TRANSCRIPTION_MODEL } };
    const update = { type: "realtime", audio: { input } };
    this.send({ type: "session.update", event_id: TRANSCRIPTION_EVENT, session: update });
  }

  /** @param {MediaStream} stream */
  #hear(stream) {
    // Heard through an element, which echo cancellation knows; measured beside it, after the same jitter buffer.
    this.#observer.onVoice(stream);
    this.#them.listen(new MediaStreamAudioSourceNode(this.#context, { mediaStream: stream }));
  }

  #sample() {
    const now = performance.now();
    const you = this.#you.sample(now);
    const them = this.#them.sample(now);
    if (them.onsetAt !== null) {
      this.latency.heard(them.onsetAt);
      this.#observer.onHeard();
    }
    this.#observer.onLevels(you.level, them.level, now);
  }

  async #lookAtPath() {
    if (!this.#call) return;
    const groups = await readPath(this.#call.pc);
    if (this.#abort.signal.aborted) return;
    const call = { title: "Call", rows: /** @type {import("./path.js").Rows} */ ([["Name", this.#call.id ?? "not told"]]) };
    this.#observer.onPath([...groups, call]);
  }

  /** @param {number} ms @param {() => unknown} action */
  #every(ms, action) {
    if (!this.#abort.signal.aborted) this.#timers.push(setInterval(action, ms));
  }
}
