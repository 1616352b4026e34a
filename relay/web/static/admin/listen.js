/** Listen-in: both voices of a live call, as they pass (WHEP, docs/http-api.md). */

import { post } from "./api.js";

/**
 * @typedef {object} Listening
 * @property {MediaStream} stream two audio tracks: the client's, then the upstream's
 * @property {RTCPeerConnection} pc for statistics
 * @property {() => void} stop ends it, once or more often; `onended` is not called
 * @property {(() => void) | null} onended called when the call, or the way to it, has ended
 */

/**
 * Listens to a live call. The call does not notice; the relay's log does.
 * @param {string} id the call's @returns {Promise<Listening>} throws ApiError
 */
export async function listen(id) {
  const pc = new RTCPeerConnection();
  const voices = ["client", "upstream"].map(() => pc.addTransceiver("audio", { direction: "recvonly" }));
  const stream = new MediaStream(voices.map(({ receiver }) => receiver.track));
  try {
    await pc.setLocalDescription();
    const offer = pc.localDescription?.sdp;
    const answer = await post(`sessions/${encodeURIComponent(id)}/listen`, offer, "application/sdp");
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    return listening(pc, stream);
  } catch (error) {
    pc.close();
    throw error;
  }
}

/** @param {RTCPeerConnection} pc @param {MediaStream} stream @returns {Listening} */
function listening(pc, stream) {
  /** @type {Listening} */
  const found = { stream, pc, stop, onended: null };
  pc.addEventListener("connectionstatechange", () => {
    if (!["failed", "closed"].includes(pc.connectionState)) return;
    stop();
    found.onended?.();
  });

  /** The relay hears of it by DTLS; closing it ourselves fires no event. */
  function stop() {
    for (const track of stream.getTracks()) track.stop();
    pc.close();
  }

  return found;
}

/**
 * Plays a stream aloud. @param {MediaStream} stream @returns {() => void} stops playing
 */
export function play(stream) {
  const audio = new Audio();
  audio.srcObject = stream;
  audio.play().catch(() => {}); // a browser that forbids it says so itself; a click led here
  return () => {
    audio.pause();
    audio.srcObject = null;
  };
}
