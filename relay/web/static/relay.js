/**
 * relay.js opens a voice call to a Realtime endpoint: this relay, or api.openai.com with another `url`.
 *
 *     import { connect } from "https://relay.example/relay.js";
 *
 *     const call = await connect({
 *       url: "https://relay.example/v1/realtime/calls",
 *       token: "ek_…",
 *       stream: await navigator.mediaDevices.getUserMedia({ audio: true }),
 *       onTrack: (stream) => { audioElement.srcObject = stream; },
 *       onEvent: (event) => console.log(event.type),
 *     });
 *     call.send({ type: "response.create" });
 *     await call.hangUp();
 *
 * One POST carries the offer and brings the answer; events travel on the data channel "oai-events". Where the server
 * takes PATCH (RFC 9725), candidates trickle both ways, and an ICE restart replaces a lost path while the conversation
 * goes on; where it does not, as api.openai.com, the one POST is all.
 * It needs nothing but static/ice.js, keeps nothing outside the call and never stops the caller's tracks.
 */

import { IceSession } from "./static/ice.js";

const HANG_UP_TIMEOUT_MS = 3000;
const TURN_AFTER_MS = 800; // without a path by then, the TURN servers that came with the answer are tried

/**
 * What went wrong, by the caller's situation:
 * - `refused`: the server answered with an error; `status`, `type`, `code`, `param` are the server's own
 * - `network`: the POST did not get through, or CORS forbade reading its answer
 * - `invalid_answer`: the answer is no usable SDP
 * - `timeout`: the call was not open within `timeoutMs`
 * - `aborted`: the signal fired, or `hangUp()` was called, before the call was open
 * - `connection_failed`: ICE or DTLS found no way through, or lost it for good
 * - `closed`: the call is over, or the other side ended it
 * - `too_large`: the event is larger than the other side takes
 *
 * @typedef {"refused" | "network" | "invalid_answer" | "timeout" | "aborted" | "connection_failed"
 *   | "closed" | "too_large"} CallErrorKind
 */

/** An error of a call. `message` is fit to be shown to a person. */
export class CallError extends Error {
  name = "CallError";
  /** @type {number | null} */ status = null;
  /** @type {string | null} */ type = null;
  /** @type {string | null} */ code = null;
  /** @type {string | null} */ param = null;
  /** @type {number | null} */ retryAfterS = null;

  /** @param {CallErrorKind} kind @param {string} message @param {unknown} [cause] */
  constructor(kind, message, cause) {
    super(message, { cause });
    this.kind = kind;
  }
}

/**
 * `new` → `calling` (the offer is posted) → `connecting` (ICE and DTLS) → `connected` (the channel is open)
 * ⇄ `reconnecting` (by ICE restarts; events sent meanwhile wait), or `disconnected` where the server knows none and the
 * browser may recover by itself → `closed` or `failed`, which are final.
 *
 * @typedef {"new" | "calling" | "connecting" | "connected" | "reconnecting" | "disconnected" | "closed"
 *   | "failed"} CallState
 */

/**
 * @typedef {object} ConnectOptions
 * @property {string | URL} [url] the full endpoint; default: `/v1/realtime/calls` of this page's origin
 * @property {string} [token] sent as `Authorization: Bearer …`: an `ek_` token or a relay's key
 * @property {MediaStream} [stream] its first audio track is sent
 * @property {MediaStreamTrack} [track] the audio track to send; without track and stream the call only listens
 * @property {object} [session] a GA session object, sent with the offer as multipart. With an `ek_` token of
 *   api.openai.com leave it out: there the session belongs to the token
 * @property {string} [model] `?model=`, where neither token nor session names one
 * @property {RTCConfiguration} [rtc] for RTCPeerConnection; a reachable relay needs none
 * @property {"relay"} [iceServers] asks the relay for its TURN servers before the call. Without it, those that come
 *   with the answer are tried a moment later, where there is no other path
 * @property {(event: any) => void} [onEvent] every server event, in order, from the first on
 * @property {(stream: MediaStream) => void} [onTrack] the assistant's voice
 * @property {(state: CallState, error: CallError | null) => void} [onState]
 * @property {AbortSignal} [signal] gives the attempt up, or hangs up the open call
 * @property {number} [timeoutMs] until the call must be open; default 15 000
 */

/**
 * Open a call. Resolves once events can be sent; rejects with a {@link CallError}, leaving nothing open.
 * @param {ConnectOptions} options
 */
export async function connect(options) {
  const call = new Call(options);
  await call.open();
  return call;
}

/** One call, made by {@link connect}. `pc` is there for statistics. */
export class Call {
  /** @type {CallState} */ state = "new";
  /** The server's name for the call (`rtc_…`), where it gave one. @type {string | null} */ id = null;
  /** The assistant's voice. @type {MediaStream | null} */ stream = null;
  /** @type {string | null} */ #resource = null;
  /** @type {CallError | null} */ #error = null;
  /** @type {Promise<void> | null} */ #ended = null;
  #ending = new AbortController();
  #opened = Promise.withResolvers();
  #options;
  /** @type {Record<string, string>} */ #headers;
  #ice;

  /** @param {ConnectOptions} options */
  constructor(options) {
    this.#options = options;
    this.#headers = options.token ? { Authorization: `Bearer ${options.token}` } : {};
    this.#opened.promise.catch(() => {}); // open() may have failed before it looks at this
    this.pc = new RTCPeerConnection(options.rtc);
    this.pc.onconnectionstatechange = () => this.#onConnection();
    this.#ice = new IceSession(this.pc, this.#headers, () => this.#reconnect(), this.#ending.signal);
    addEventListener("online", () => this.#reconnect(), { signal: this.#ending.signal }); // often at a new address
    this.pc.ontrack = ({ track, streams }) => {
      this.stream = streams[0] ?? new MediaStream([track]);
      options.onTrack?.(this.stream);
    };
    this.channel = this.pc.createDataChannel("oai-events");
    this.channel.onopen = () => this.#opened.resolve(undefined);
    this.channel.onmessage = ({ data }) => {
      const event = parse(String(data));
      if (typeof event?.type === "string") options.onEvent?.(event); // anything else has no meaning to hand on
    };
    this.channel.onclose = () => this.#end(new CallError("closed", "The other side ended the call."));
  }

  /** @package */
  async open() {
    const { signal, timeoutMs = 15_000 } = this.#options;
    const late = new CallError("timeout", `The call did not connect within ${timeoutMs / 1000} s.`);
    const timer = setTimeout(() => this.#end(late), timeoutMs);
    signal?.addEventListener("abort", () => this.hangUp(), { signal: this.#ending.signal });
    try {
      if (signal?.aborted) this.hangUp();
      else await this.#negotiate();
      await this.#opened.promise;
      this.#enter("connected");
    } catch (error) {
      this.#end(error instanceof CallError ? error : new CallError("connection_failed", String(error), error));
      throw this.#error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Send one client event. @param {{type: string, [field: string]: unknown}} event @throws {CallError} */
  send(event) {
    if (this.channel.readyState !== "open") throw new CallError("closed", "The call is not open.");
    const text = JSON.stringify(event);
    const limit = this.pc.sctp?.maxMessageSize || Infinity;
    if (text.length * 3 > limit && new Blob([text]).size > limit) {
      throw new CallError("too_large", `The event is larger than the ${limit} bytes the other side takes.`);
    }
    this.channel.send(text);
  }

  /** Hang up: tell the server, then close. Never rejects, takes three seconds at most, may be called again. */
  hangUp() {
    const open = ["connected", "reconnecting", "disconnected"].includes(this.state);
    return this.#end(open ? null : new CallError("aborted", "The call was cancelled."));
  }

  async #negotiate() {
    const { stream, track = stream?.getAudioTracks()[0] } = this.#options;
    if (track) this.pc.addTransceiver(track, { streams: stream ? [stream] : [] });
    else this.pc.addTransceiver("audio", { direction: "recvonly" }); // an offer without audio is refused
    if (this.#options.iceServers === "relay") await this.#askForIceServers();
    await this.pc.setLocalDescription();
    this.#enter("calling");
    const sdp = await this.#post(/** @type {RTCSessionDescription} */ (this.pc.localDescription).sdp);
    this.#enter("connecting");
    await this.pc.setRemoteDescription({ type: "answer", sdp }).catch((cause) => {
      throw new CallError("invalid_answer", "The server's answer is not a usable session description.", cause);
    });
    this.#ice.answered(sdp);
    if (this.#ice.hasOtherServers) setTimeout(() => this.#tryOtherServers(), TURN_AFTER_MS);
  }

  #tryOtherServers() {
    const checking = ["new", "checking"].includes(this.pc.iceConnectionState);
    if (this.state === "connecting" && checking) this.#reconnect();
  }

  /** An error is none of the call's: there may be a path without them. */
  async #askForIceServers() {
    const request = { headers: this.#headers, signal: this.#ending.signal };
    const response = await fetch(new URL("ice_servers", this.#target), request).catch(() => null);
    if (response?.ok) this.#ice.use(parse(await response.text())?.iceServers);
  }

  get #target() {
    return new URL(this.#options.url ?? "/v1/realtime/calls", location.href);
  }

  /** @param {string} offer never trimmed: SDP without its last CRLF is refused @returns {Promise<string>} */
  async #post(offer) {
    const { model, session } = this.#options;
    const target = this.#target;
    if (model) target.searchParams.set("model", model);
    const form = new FormData();
    form.set("sdp", offer);
    form.set("session", JSON.stringify(session ?? {}));
    const response = await fetch(target, {
      method: "POST",
      headers: session ? this.#headers : { ...this.#headers, "Content-Type": "application/sdp" },
      body: session ? form : offer,
      signal: this.#ending.signal,
    }).catch((cause) => {
      throw new CallError("network", "The server could not be reached.", cause);
    });
    const text = await response.text();
    if (!response.ok) throw refusal(response, text);
    const resource = new URL(response.headers.get("Location") ?? "", target);
    if (resource.origin === target.origin && resource.pathname !== target.pathname) {
      this.#resource = resource.origin + resource.pathname; // another origin must not be sent our token
      this.id = resource.pathname.split("/").at(-1) ?? null;
      this.#ice.open(this.#resource, response.headers);
    }
    return text;
  }

  #onConnection() {
    const state = this.pc.connectionState;
    if (state === "connected" && this.state === "disconnected") this.#enter("connected");
    else if (state === "disconnected" && this.state === "connected") this.#reconnect();
    else if (state === "failed" && !this.#ice.isRestarting) this.state === "connecting" ? this.#lose() : this.#reconnect();
  }

  /** Restarts ICE; where the server knows no restart, the browser is left to itself. */
  async #reconnect() {
    if (this.#ice.isRestarting) return this.#ice.hurry();
    const open = this.state === "connected" || this.state === "disconnected";
    if (open && this.#ice.canRestart) this.#enter("reconnecting");
    const found = await this.#ice.restart();
    const state = this.pc.connectionState;
    if (!found && (this.#ice.canRestart || state === "failed")) this.#lose();
    else if (open) this.#enter(found || state === "connected" ? "connected" : "disconnected");
  }

  #lose() {
    const lost = this.state === "connecting" ? "No network path to the server was found." : "The connection was lost.";
    this.#end(new CallError("connection_failed", lost));
  }

  /** The one way out. @param {CallError | null} error null: we hang up @returns {Promise<void>} */
  #end(error) {
    return (this.#ended ??= this.#close(error));
  }

  /** @param {CallError | null} error */
  async #close(error) {
    this.#error = error;
    this.#ending.abort();
    this.#opened.reject(error);
    this.pc.onconnectionstatechange = this.channel.onclose = null;
    const told = error?.kind === "closed" ? null : this.#postHangUp();
    if (error === null) await told;
    this.pc.close();
    this.#enter(error === null || error.kind === "closed" || error.kind === "aborted" ? "closed" : "failed");
  }

  async #postHangUp() {
    if (this.#resource === null) return;
    const signal = AbortSignal.timeout(HANG_UP_TIMEOUT_MS);
    const request = { method: "POST", headers: this.#headers, keepalive: true, signal }; // also while the page unloads
    await fetch(`${this.#resource}/hangup`, request).catch(() => {}); // closing the connection ends the call in any case
  }

  /** @param {CallState} state */
  #enter(state) {
    if (this.state === state || this.state === "closed" || this.state === "failed") return;
    this.state = state;
    this.#options.onState?.(state, this.#error);
  }
}

/** @param {Response} response @param {string} text @returns {CallError} from `{"error": {…}}`, or the bare status */
function refusal(response, text) {
  const { status, headers } = response;
  const { message = `The server refused the call with status ${status}.`, type, code, param } = parse(text)?.error ?? {};
  const retryAfterS = Number(headers.get("Retry-After")) || null;
  return Object.assign(new CallError("refused", message), { status, type, code, param, retryAfterS });
}

/** @param {string} text @returns {any} null where it is no JSON */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
