/** Listen-in: both voices of a live call, as they pass (WHEP, docs/http-api.md). */

import { del, request, url } from "./api.js";

/**
 * @typedef {object} Listening
 * @property {MediaStream} stream two audio tracks: the client's, then the upstream's
 * @property {RTCPeerConnection} pc for statistics
 * @property {() => void} stop ends it; `onended` is not called
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
    const { answer, resource } = await offer(id, pc.localDescription?.sdp ?? "");
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    return listening(pc, stream, resource);
  } catch (error) {
    pc.close();
    throw error;
  }
}

/** @param {string} id @param {string} sdp */
async function offer(id, sdp) {
  const path = `sessions/${encodeURIComponent(id)}/listen`;
  const headers = { "Content-Type": "application/sdp" };
  const response = await request(url(path), { method: "POST", body: sdp, headers });
  const listener = response.headers.get("Location")?.split("/").pop() ?? "";
  return { answer: await response.text(), resource: `${path}/${listener}` };
}

/** @param {RTCPeerConnection} pc @param {MediaStream} stream @param {string} resource @returns {Listening} */
function listening(pc, stream, resource) {
  /** @type {Listening} */
  const found = { stream, pc, stop, onended: null };
  pc.addEventListener("connectionstatechange", () => {
    if (!["failed", "closed"].includes(pc.connectionState)) return;
    end();
    found.onended?.();
  });

  function end() {
    for (const track of stream.getTracks()) track.stop();
    pc.close();
  }

  function stop() {
    end(); // closing it ourselves fires no event
    del(resource).catch(() => {}); // it may be gone already, with its call
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
