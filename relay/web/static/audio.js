/**
 * What goes into the microphone's place, and how loud both voices are.
 */

const WINDOW = 8192; // samples an analyser looks back: 170 ms at 48 kHz, for a timer that comes late
const AUDIBLE = 0.004; // peak amplitude, −48 dBFS: above Opus's silence, below any spoken sound
const HOLD_MS = 150; // a pause shorter than this is within a word, not between two answers
const FLOOR_DB = -54;
const CEILING_DB = -9;

/** Loudness of one voice, and when it begins to sound. */
export class Meter {
  #analyser;
  #samples = new Float32Array(WINDOW);
  #sampledAt = 0;
  #lastLoudAt = -Infinity;

  /** @param {AudioContext} context */
  constructor(context) {
    this.#analyser = new AnalyserNode(context, { fftSize: WINDOW, smoothingTimeConstant: 0 });
  }

  /** @param {AudioNode} node the voice */
  listen(node) {
    node.connect(this.#analyser);
  }

  /**
   * Measure what was played since the last call. After a longer pause than the window an onset may be missed.
   *
   * @param {number} now in ms, as of performance.now()
   * @returns {{level: number, onsetAt: number | null}} level from 0 to 1 on a dB scale; `onsetAt` in ms where the
   *   voice began to sound after a silence, exact to the sample
   */
  sample(now) {
    const { sampleRate } = this.#analyser.context;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const fresh = Math.round(((now - this.#sampledAt) / 1000) * sampleRate);
    const samples = this.#samples.subarray(-Math.min(WINDOW, Math.max(1, fresh)));
    this.#sampledAt = now;
    const first = samples.findIndex((sample) => Math.abs(sample) > AUDIBLE);
    const silentBefore = now - this.#lastLoudAt > HOLD_MS;
    if (first !== -1) this.#lastLoudAt = now;
    const certain = fresh <= WINDOW || first > 0; // else it may have begun in the part that is gone
    const onset = first !== -1 && silentBefore && certain;
    return {
      level: toLevel(samples),
      onsetAt: onset ? now - ((samples.length - first) / sampleRate) * 1000 : null,
    };
  }
}

/** @param {Float32Array} samples @returns {number} root mean square between floor and ceiling, 0 to 1 */
function toLevel(samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  const db = 10 * Math.log10(power + 1e-12);
  return Math.min(1, Math.max(0, (db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
}

/** Where a call's outgoing voice comes from. @typedef {Microphone | SampleVoice} Source */

/** The machine's microphone. */
export class Microphone {
  /** @param {AudioContext} context @param {MediaStream} stream */
  constructor(context, stream) {
    this.stream = stream;
    this.output = new MediaStreamAudioSourceNode(context, { mediaStream: stream });
  }

  /** @param {AudioContext} context @throws {Error} with a message for a person */
  static async open(context) {
    if (!Microphone.available) throw new Error(NO_DEVICES);
    try {
      const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
      return new Microphone(context, await navigator.mediaDevices.getUserMedia({ audio }));
    } catch (error) {
      const name = error instanceof DOMException ? error.name : "";
      throw new Error(MICROPHONE_ERRORS[name] ?? `The microphone could not be opened: ${error}`, { cause: error });
    }
  }

  /** Browsers hide microphones from pages that are neither https nor on this machine. */
  static get available() {
    return navigator.mediaDevices?.getUserMedia !== undefined;
  }

  /** @param {boolean} muted */
  mute(muted) {
    for (const track of this.stream.getTracks()) track.enabled = !muted;
  }

  close() {
    this.output.disconnect();
    for (const track of this.stream.getTracks()) track.stop();
  }
}

const NO_DEVICES = "Browsers open the microphone only for https pages and for localhost. Use the sample voice here.";
/** @type {Record<string, string>} */
const MICROPHONE_ERRORS = {
  NotAllowedError: "The microphone was not allowed. Allow it in the address bar, or use the sample voice.",
  NotFoundError: "No microphone was found. Plug one in, or use the sample voice.",
  NotReadableError: "The microphone is in use by another program, or does not answer. Or use the sample voice.",
};

/** Recorded phrases in a microphone's place: silence, and a phrase whenever `say()` is called. */
export class SampleVoice {
  #context;
  #phrases;
  #next = 0;
  /** @type {AudioBufferSourceNode | null} */ #speaking = null;
  #monitor;
  #silence;

  /** @param {AudioContext} context @param {AudioBuffer[]} phrases */
  constructor(context, phrases) {
    this.#context = context;
    this.#phrases = phrases;
    this.output = new GainNode(context);
    const destination = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
    // With nothing connected the track stands still, and a server that hears no silence sees no end of a phrase.
    this.#silence = new ConstantSourceNode(context, { offset: 0 });
    this.#silence.connect(destination);
    this.#silence.start();
    this.#monitor = new GainNode(context, { gain: 0.5 }); // heard here, and softer than the answer
    this.output.connect(destination);
    this.output.connect(this.#monitor).connect(context.destination);
    this.stream = destination.stream;
  }

  /** @param {AudioContext} context @param {URL[]} urls @throws {Error} with a message for a person */
  static async open(context, urls) {
    const phrases = await Promise.all(urls.map((url) => fetchPhrase(context, url)));
    return new SampleVoice(context, phrases);
  }

  /** Say the next phrase, from its start. @returns {number} its length in seconds */
  say() {
    this.#speaking?.stop();
    const buffer = this.#phrases[this.#next++ % this.#phrases.length];
    this.#speaking = new AudioBufferSourceNode(this.#context, { buffer });
    this.#speaking.connect(this.output);
    this.#speaking.start();
    return buffer.duration;
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.output.gain.value = muted ? 0 : 1;
  }

  close() {
    this.#speaking?.stop();
    this.#silence.disconnect();
    this.output.disconnect();
    this.#monitor.disconnect();
    for (const track of this.stream.getTracks()) track.stop();
  }
}

/** @param {AudioContext} context @param {URL} url @returns {Promise<AudioBuffer>} */
async function fetchPhrase(context, url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The sample voice could not be loaded: status ${response.status}.`);
  return context.decodeAudioData(await response.arrayBuffer());
}
