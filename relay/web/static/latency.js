/**
 * How long each answer took: from the end of what was asked to the first sound of the reply.
 *
 * All times are ms of performance.now() on this page. An event's time is its arrival here, a sound's time is when
 * it is played here, so the way through the relay and the jitter buffer are in the figure.
 */

const MAX_ANSWERS = 50;

/**
 * @typedef {object} Answer
 * @property {string} responseId
 * @property {"speech" | "text" | "server"} trigger what began it: your voice, a typed message, or the server
 * @property {number} from the end of your speech, or when the message was sent
 * @property {number} createdAt `response.created`
 * @property {number | null} bufferAt `output_audio_buffer.started`
 * @property {number | null} audibleAt the first audible sound
 * @property {number | null} endedAt the audio stopped, was cleared, or the response ended without any
 * @property {boolean} interrupted
 */

/** Follows the events and sounds of one call. */
export class LatencyLog {
  /** Oldest first, the last 50. @type {Answer[]} */ answers = [];
  /** @type {{trigger: "speech" | "text", at: number} | null} */ #asked = null;
  /** A sound that came before its `response.created`: media may overtake events. */
  #strayOnsetAt = -Infinity;

  /** @param {{type: string, [field: string]: any}} event a client event @param {number} at */
  sent(event, at) {
    if (event.type === "response.create") this.#asked = { trigger: "text", at };
  }

  /** @param {{type: string, [field: string]: any}} event a server event @param {number} at */
  received(event, at) {
    if (event.type === "input_audio_buffer.speech_started") this.#asked = null;
    else if (event.type === "input_audio_buffer.speech_stopped") this.#asked = { trigger: "speech", at };
    else if (event.type === "response.created") this.#begin(event.response.id, at);
    else this.#progress(event, at);
  }

  /** The assistant's voice began to sound. @param {number} at */
  heard(at) {
    const answer = this.answers.at(-1);
    const spoken = answer && (answer.audibleAt !== null || answer.interrupted);
    if (answer && !spoken && this.#asked === null) answer.audibleAt = at;
    else if (!answer || answer.endedAt !== null) this.#strayOnsetAt = at;
  }

  /** The question that nothing has answered yet. @returns {number | null} since when */
  get waitingSince() {
    const answer = this.answers.at(-1);
    if (this.#asked) return this.#asked.at;
    return answer && answer.audibleAt === null && answer.endedAt === null ? answer.from : null;
  }

  /** @param {string} responseId @param {number} at */
  #begin(responseId, at) {
    const { trigger, at: from } = this.#asked ?? { trigger: /** @type {const} */ ("server"), at };
    const audibleAt = this.#asked && this.#strayOnsetAt > from ? this.#strayOnsetAt : null;
    const answer = { responseId, trigger, from, createdAt: at, bufferAt: null, audibleAt, endedAt: null };
    this.answers = [...this.answers, { ...answer, interrupted: false }].slice(-MAX_ANSWERS);
    this.#asked = null;
    this.#strayOnsetAt = -Infinity;
  }

  /** @param {{type: string, [field: string]: any}} event @param {number} at */
  #progress(event, at) {
    const responseId = event.response_id ?? event.response?.id;
    const answer = this.answers.find((answer) => answer.responseId === responseId);
    if (!answer) return;
    if (event.type === "output_audio_buffer.started") answer.bufferAt ??= at;
    if (event.type === "output_audio_buffer.stopped" || event.type === "output_audio_buffer.cleared") answer.endedAt ??= at;
    if (event.type === "output_audio_buffer.cleared") answer.interrupted = true;
    if (event.type === "response.done") {
      answer.interrupted ||= event.response.status === "cancelled";
      if (answer.bufferAt === null) answer.endedAt ??= at; // text, or cancelled before it spoke
    }
  }
}

/** @param {Answer} answer @returns {number | null} ms from the question's end to the first sound */
export function latencyOf(answer) {
  return answer.audibleAt === null ? null : answer.audibleAt - answer.from;
}

/** @param {Answer[]} answers to speech or text; the server's own are nobody's wait @returns {number | null} ms */
export function medianLatency(answers) {
  const asked = answers.filter((answer) => answer.trigger !== "server").map(latencyOf);
  const sorted = asked.filter((value) => value !== null).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return null;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
