/**
 * Who said what: the turns of a conversation, built from the GA events of the Realtime API.
 *
 * An answer's text runs ahead of its sound. Where it is interrupted, what was not heard is cut: the server says how
 * many ms were played, the length of the text up to there is estimated from the pace of the answers before.
 */

// The pace of speech before any was heard, 15 characters a second, with the weight of ten seconds of it.
const USUAL = { characters: 150, ms: 10_000 };

/** @typedef {{type: string, [field: string]: any}} Event */

/**
 * @typedef {object} Turn
 * @property {string} id the conversation item's
 * @property {"user" | "assistant" | "tool"} role
 * @property {string} text so far
 * @property {"open" | "done" | "failed" | "untold"} state untold: spoken, and nobody transcribed it
 * @property {number} at ms of performance.now() when it began
 * @property {string | null} responseId of an answer
 * @property {boolean} spoken an answer's text is the transcript of its audio
 * @property {boolean} interrupted
 * @property {number | null} heardMs where a spoken answer was interrupted: how much of it was played
 */

/** @type {Pick<Turn, "text" | "state" | "spoken" | "interrupted" | "heardMs">} */
const EMPTY = { text: "", state: "open", spoken: false, interrupted: false, heardMs: null };

/** The turns of one call, in the conversation's order. */
export class Transcript {
  /** @type {Turn[]} */ turns = [];
  /** When each response's audio began here. @type {Map<string, number>} */
  #playingSince = new Map();
  #heard = USUAL;

  /** Take one server event. @param {Event} event @param {number} at @returns {boolean} whether a turn has changed */
  apply(event, at) {
    const rule = RULES[event.type];
    return rule ? rule(this, event, at) !== false : false;
  }

  /**
   * The turn of an item, made where it is new.
   *
   * @param {string} id @param {Turn["role"]} role @param {number} at
   * @param {{after?: string | null, responseId?: string | null}} [place]
   */
  turn(id, role, at, { after = null, responseId = null } = {}) {
    let turn = this.turns.find((turn) => turn.id === id);
    if (!turn) {
      turn = { ...EMPTY, id, role, at, responseId };
      const previous = this.turns.findIndex((turn) => turn.id === after);
      this.turns.splice(previous === -1 ? this.turns.length : previous + 1, 0, turn);
    }
    turn.responseId ??= responseId;
    return turn;
  }

  /** @param {string} responseId @returns {Turn | undefined} its spoken or written turn */
  answer(responseId) {
    return this.turns.find((turn) => turn.responseId === responseId && turn.role === "assistant");
  }

  /** @param {Turn} turn @returns {number} of the text's characters that were heard */
  heardLength(turn) {
    if (turn.heardMs === null) return turn.text.length;
    const estimate = Math.round((turn.heardMs * this.#heard.characters) / this.#heard.ms);
    const wordEnd = turn.text.indexOf(" ", estimate);
    return wordEnd === -1 ? turn.text.length : wordEnd + 1;
  }

  /** @param {string} responseId @param {number} at */
  playing(responseId, at) {
    this.#playingSince.set(responseId, at);
  }

  /** An answer was played to its end: learn the voice's pace. @param {string} responseId @param {number} at */
  played(responseId, at) {
    const since = this.#playingSince.get(responseId);
    const { characters, ms } = this.#heard;
    const length = this.answer(responseId)?.text.length ?? 0;
    if (since !== undefined && length > 0) this.#heard = { characters: characters + length, ms: ms + at - since };
    this.#playingSince.delete(responseId);
  }

  /** An answer was cut off. @param {string} responseId @param {number} at */
  interrupted(responseId, at) {
    const turn = this.answer(responseId);
    if (!turn) return;
    Object.assign(turn, { interrupted: true, state: "done" });
    if (turn.spoken) turn.heardMs ??= at - (this.#playingSince.get(responseId) ?? at);
    this.#playingSince.delete(responseId);
  }
}

/** @type {Record<string, (transcript: Transcript, event: Event, at: number) => boolean | void>} */
const RULES = {
  "input_audio_buffer.speech_started": (transcript, { item_id }, at) => void transcript.turn(item_id, "user", at),
  "conversation.item.added": addItem,
  "conversation.item.created": addItem,
  "conversation.item.input_audio_transcription.delta": (transcript, { item_id, delta }, at) => {
    transcript.turn(item_id, "user", at).text += delta ?? "";
  },
  "conversation.item.input_audio_transcription.completed": (transcript, { item_id, transcript: text }, at) => {
    Object.assign(transcript.turn(item_id, "user", at), { text: (text ?? "").trim(), state: "done" });
  },
  "conversation.item.input_audio_transcription.failed": (transcript, { item_id }, at) => {
    transcript.turn(item_id, "user", at).state = "failed";
  },
  "conversation.item.truncated": (transcript, { item_id, audio_end_ms }) => {
    const turn = transcript.turns.find((turn) => turn.id === item_id);
    if (turn) Object.assign(turn, { heardMs: audio_end_ms, interrupted: true, state: "done" });
  },
  "conversation.item.deleted": (transcript, { item_id }) => {
    transcript.turns = transcript.turns.filter((turn) => turn.id !== item_id);
  },
  "response.output_item.added": (transcript, { item, response_id }, at) =>
    addItem(transcript, { type: "", item, response_id }, at),
  "response.output_audio_transcript.delta": (transcript, event, at) => {
    const turn = answerTurn(transcript, event, at);
    Object.assign(turn, { text: turn.text + (event.delta ?? ""), spoken: true });
  },
  "response.output_audio_transcript.done": (transcript, event, at) => {
    const turn = answerTurn(transcript, event, at);
    Object.assign(turn, { text: event.transcript ?? turn.text, spoken: true });
  },
  "response.output_text.delta": (transcript, event, at) => {
    answerTurn(transcript, event, at).text += event.delta ?? "";
  },
  "response.output_text.done": (transcript, event, at) => {
    const turn = answerTurn(transcript, event, at);
    turn.text = event.text ?? turn.text;
  },
  "response.function_call_arguments.done": (transcript, { item_id, response_id, name, arguments: text }, at) => {
    const turn = transcript.turn(item_id, "tool", at, { responseId: response_id });
    Object.assign(turn, { text: `${name ?? turn.text}(${text ?? ""})`, state: "done" });
  },
  "output_audio_buffer.started": (transcript, { response_id }, at) => transcript.playing(response_id, at),
  "output_audio_buffer.stopped": (transcript, { response_id }, at) => transcript.played(response_id, at),
  "output_audio_buffer.cleared": (transcript, { response_id }, at) => transcript.interrupted(response_id, at),
  "response.done": (transcript, { response }, at) => {
    const turn = transcript.answer(response.id);
    if (response.status === "cancelled") transcript.interrupted(response.id, at);
    else if (turn) turn.state = response.status === "failed" ? "failed" : "done";
    for (const asked of transcript.turns) if (asked.state === "open" && asked.text === "") asked.state = "untold";
  },
};

/** @param {Transcript} transcript @param {Event} event @param {number} at */
function addItem(transcript, { item, previous_item_id, response_id }, at) {
  const place = { after: previous_item_id, responseId: response_id };
  if (item.type === "function_call") {
    transcript.turn(item.id, "tool", at, place).text ||= item.name ?? "";
  } else if (item.type === "message" && item.role !== "system") {
    const turn = transcript.turn(item.id, item.role, at, place);
    const written = item.content?.map((/** @type {any} */ part) => part.text ?? part.transcript ?? "").join("");
    turn.text ||= written ?? "";
    if (item.role === "user" && written) turn.state = "done";
  } else {
    return false;
  }
}

/** @param {Transcript} transcript @param {Event} event @param {number} at */
function answerTurn(transcript, { item_id, response_id }, at) {
  return transcript.turn(item_id, "assistant", at, { responseId: response_id });
}
