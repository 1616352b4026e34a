/** ICE after the answer: trickle and restarts, as WHIP has them (RFC 9725 §4.3). A part of relay.js. */

const SDPFRAG = "application/trickle-ice-sdpfrag"; // RFC 8840 §9
const PATCH_TIMEOUT_MS = 2000; // short: a kept connection may have died with the old address
const CHECKS_TIMEOUT_MS = 4000; // an answered restart has this long to find a path
const WATCH_MS = 250;
const UNANSWERED_CHECKS = 5; // beyond those under way: Chromium sends one in 50 ms once nothing has come for 2.5 s
const RESTART_DELAYS_MS = [0, 250, 500, 1000, 2000, 4000, 4000, 4000]; // before each attempt

/**
 * A call's path after the answer: candidates both ways, and ICE restarts (RFC 8838, RFC 9725 §4.3). Does nothing before
 * open(), or where the server does not take PATCH. Nothing here throws.
 */
export class IceSession {
  canRestart = false;
  isRestarting = false;
  /** Whether the answer named ICE servers when there had been none of the relay's. */ hasOtherServers = false;
  #resource = "";
  /** Names the generation of candidates that trickle; null: not now. @type {string | null} */ #etag = null;
  /** Not told yet; null is their end. @type {(RTCIceCandidate | null)[]} */ #candidates = [];
  #trickling = false;
  #generation = new AbortController();
  /** The pair in use when its last check was answered. @type {any} */ #answered = null;
  #hurry = new AbortController();
  #pc;
  #headers;
  #onSilence;
  #ended;
  #ownServers;
  #serversAreUsed = false;

  /**
   * @param {RTCPeerConnection} pc
   * @param {Record<string, string>} headers
   * @param {() => void} onSilence checks stay without answer
   * @param {AbortSignal} ended
   */
  constructor(pc, headers, onSilence, ended) {
    this.#pc = pc;
    this.#headers = headers;
    this.#onSilence = onSilence;
    this.#ended = ended;
    this.#ownServers = pc.getConfiguration().iceServers ?? [];
    pc.onicecandidate = ({ candidate }) => {
      this.#candidates.push(candidate);
      this.#trickle();
    };
  }

  /** The server has made a call of the offer. @param {string} resource its URL @param {Headers} headers */
  open(resource, headers) {
    this.#resource = resource;
    this.canRestart = headers.get("Accept-Patch")?.includes(SDPFRAG) ?? false;
    this.#etag = this.canRestart ? headers.get("ETag") : null;
    if (this.canRestart) this.#watch();
    const used = this.#serversAreUsed;
    this.hasOtherServers = this.canRestart && this.#useLinks(headers) && !used;
  }

  /** The relay's servers, from the next gathering on. @param {RTCIceServer[]} [servers] @returns {boolean} */
  use(servers = []) {
    if (servers.length === 0) return false;
    try {
      this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers: [...this.#ownServers, ...servers] });
      this.#serversAreUsed = true;
    } catch {
      return false; // none that this browser takes
    }
    return true;
  }

  /** @param {Headers} headers their credentials are fresh */
  #useLinks(headers) {
    return this.use(linkedServers(headers.get("Link") ?? ""));
  }

  /** @param {string} answer the server's, or the fragment that stands for it */
  answered(answer) {
    this.#trickle();
    if (this.canRestart && !answer.includes("a=end-of-candidates")) this.#listen();
  }

  /** Tells our candidates, all there are at a time. */
  async #trickle() {
    if (this.#trickling) return;
    this.#trickling = true;
    while (this.#etag !== null && this.#pc.remoteDescription !== null && this.#candidates.length > 0) {
      const body = fragment(this.#local, this.#candidates.splice(0));
      const response = await this.#patch(body, this.#etag, this.#generation.signal);
      if (response !== null && !response.ok && response.status !== 412) this.#etag = null; // not wanted
    }
    this.#trickling = false;
  }

  /** Hears the server's late candidates. */
  async #listen() {
    const request = { headers: this.#headers, signal: AbortSignal.any([this.#ended, this.#generation.signal]) };
    try {
      const response = await fetch(`${this.#resource}/candidates`, request);
      if (!response.ok || response.body === null) return;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (let read = await reader.read(); !read.done; read = await reader.read()) {
        const lines = (rest + read.value).split(/\r?\n/);
        rest = lines.pop() ?? "";
        for (const line of lines) await this.#hear(line);
      }
    } catch {} // the path in use does not need them
  }

  /** @param {string} line of an event stream */
  async #hear(line) {
    const candidate = /^data: ?(?:a=)?(candidate:.*)/.exec(line)?.[1];
    if (candidate) await this.#pc.addIceCandidate({ candidate, sdpMid: firstMid(this.#local) });
  }

  /** The browser tells `disconnected` six seconds after the path is gone; its statistics show it in three. */
  async #watch() {
    while (!this.#ended.aborted) {
      await pause(WATCH_MS, this.#ended);
      const pair = await selectedPair(this.#pc).catch(() => null);
      if (pair?.responsesReceived !== this.#answered?.responsesReceived) this.#answered = pair;
      const unanswered = pair ? pair.requestsSent - this.#answered.requestsSent : 0;
      const underWay = ((pair?.currentRoundTripTime ?? 0) * 1000) / 50;
      if (unanswered >= UNANSWERED_CHECKS + underWay && !this.isRestarting) this.#onSilence();
    }
  }

  /** Until the call goes by a new path: true; false where that is not to be. */
  async restart() {
    this.isRestarting = true;
    let found = false;
    for (const delay of this.canRestart ? RESTART_DELAYS_MS : []) {
      await pause(delay, AbortSignal.any([this.#ended, this.#hurry.signal]));
      this.#hurry = new AbortController();
      if (this.#ended.aborted || !this.canRestart) break;
      found = (delay > 0 && this.#isNew) || (await this.#attempt().catch(() => false));
      if (found) break;
    }
    if (!found && this.#pc.signalingState === "have-local-offer") {
      await this.#pc.setLocalDescription({ type: "rollback" }).catch(() => {});
    }
    this.#answered = null;
    this.isRestarting = false;
    return found;
  }

  /** The network is back: what waits for it waits no longer. */
  hurry() {
    this.#hurry.abort();
  }

  /** Each attempt has credentials of its own, as the answer to the last one may be lost. */
  async #attempt() {
    this.#generation.abort();
    this.#generation = new AbortController();
    this.#etag = null;
    const offer = await this.#pc.createOffer({ iceRestart: true });
    this.#candidates = [];
    await this.#pc.setLocalDescription(offer);
    const response = await this.#patch(fragment(this.#local, []), "*", this.#hurry.signal);
    this.canRestart = response === null || [200, 408, 425, 429, 500, 502, 503, 504].includes(response.status);
    if (response?.status !== 200) return false;
    const answer = await response.text();
    const sdp = renewed(/** @type {RTCSessionDescription} */ (this.#pc.currentRemoteDescription).sdp, answer);
    await this.#pc.setRemoteDescription({ type: "answer", sdp });
    this.#etag = response.headers.get("ETag");
    this.#useLinks(response.headers);
    this.answered(answer);
    return this.#checked();
  }

  /** @returns {Promise<boolean>} whether a pair of the new generation came to carry the call */
  #checked() {
    const over = AbortSignal.any([this.#ended, AbortSignal.timeout(CHECKS_TIMEOUT_MS)]);
    return new Promise((done) => {
      const look = () => this.#isNew && done(true);
      over.addEventListener("abort", () => done(false));
      this.#pc.addEventListener("connectionstatechange", look, { signal: over });
      this.#pc.sctp?.transport.iceTransport.addEventListener("selectedcandidatepairchange", look, { signal: over });
      look();
    });
  }

  get #isNew() {
    const local = this.#pc.sctp?.transport.iceTransport.getSelectedCandidatePair?.()?.local;
    const known = local?.usernameFragment ?? null; // not all browsers tell
    const agreed = this.#pc.signalingState === "stable"; // new checks may pass before the server knows our new side
    return agreed && this.#pc.connectionState === "connected" && (known === null || known === ufragOf(this.#local));
  }

  get #local() {
    return this.#pc.localDescription?.sdp ?? "";
  }

  /** @param {string} body @param {string} tag @param {AbortSignal} signal @returns {Promise<Response | null>} */
  #patch(body, tag, signal) {
    return fetch(this.#resource, {
      method: "PATCH",
      headers: { ...this.#headers, "Content-Type": SDPFRAG, "If-Match": tag },
      body,
      signal: AbortSignal.any([this.#ended, signal, AbortSignal.timeout(PATCH_TIMEOUT_MS)]),
    }).catch(() => null);
  }
}

/** @param {string} sdp ours @param {(RTCIceCandidate | null)[]} candidates @returns {string} an sdpfrag (RFC 8840 §9) */
function fragment(sdp, candidates) {
  const ufrag = ufragOf(sdp);
  const current = candidates.filter((candidate) => candidate === null || candidate.usernameFragment === ufrag);
  const lines = current.map((candidate) => (candidate === null ? "a=end-of-candidates" : `a=${candidate.candidate}`));
  const head = [`a=ice-ufrag:${ufrag}`, `a=ice-pwd:${/^a=ice-pwd:(\S+)/m.exec(sdp)?.[1]}`];
  const media = ["m=audio 9 UDP/TLS/RTP/SAVPF 0", `a=mid:${firstMid(sdp)}`]; // §9.2: only the mid has a meaning
  return [...head, ...media, ...lines, ""].join("\r\n");
}

/** @param {string} answer the last @param {string} frag the server's new side @returns {string} the answer to a restart */
function renewed(answer, frag) {
  const mid = `a=mid:${firstMid(answer)}`;
  const candidates = frag.match(/^a=(candidate:.*|end-of-candidates)$/gm) ?? [];
  const credentials = frag.match(/^a=ice-(ufrag|pwd):.*$/gm) ?? [];
  const kept = answer.split(/\r?\n/).filter((line) => !/^a=(candidate:|end-of-candidates|ice-ufrag:|ice-pwd:)/.test(line));
  const lines = kept.flatMap((line) => {
    if (!line.startsWith("a=mid:")) return [line];
    return line === mid ? [line, ...credentials, ...candidates] : [line, ...credentials];
  });
  return lines.join("\r\n");
}

/** @param {RTCPeerConnection} pc @returns {Promise<any>} its RTCIceCandidatePairStats, null where none is selected */
async function selectedPair(pc) {
  const report = await pc.getStats();
  const transports = [...report.values()].filter(({ type }) => type === "transport");
  return report.get(transports[0]?.selectedCandidatePairId) ?? null;
}

/** @param {string} sdp */
function ufragOf(sdp) {
  return /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1] ?? "";
}

/** @param {string} sdp @returns {string} the section that has the transport (RFC 9143 §7.2) */
function firstMid(sdp) {
  return (/^a=group:BUNDLE (\S+)/m.exec(sdp) ?? /^a=mid:(\S+)/m.exec(sdp))?.[1] ?? "0";
}

/** @param {string} link RFC 9725 §4.6 @returns {RTCIceServer[]} */
function linkedServers(link) {
  const found = [...link.matchAll(/<((?:stun|turn)s?:[^>]+)>([^<]*)/g)];
  return found.map(([, urls, rest]) => {
    const value = (/** @type {string} */ name) => new RegExp(`;\\s*${name}="?([^";,]+)`).exec(rest)?.[1];
    return { urls, username: value("username"), credential: value("credential") };
  });
}

/** @param {number} ms @param {AbortSignal} signal ends it early @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((done) => {
    if (signal.aborted) done();
    signal.addEventListener("abort", () => done());
    setTimeout(done, ms);
  });
}
