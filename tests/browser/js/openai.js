// What an application with the stock npm `openai` does: it owns the SDP exchange, and posts to us.
import { OpenAIRealtimeWebRTC } from "openai/realtime/webrtc";
import { listen } from "./ear.js";

window.events = [];
const note = (type, detail = {}) => events.push({ type, at: performance.now(), ...detail });

window.connect = async (relay, tones) => {
  const { value } = await (
    await fetch(`${relay}/v1/realtime/client_secrets`, { method: "POST" })
  ).json();
  window.realtime = new OpenAIRealtimeWebRTC();
  realtime.onEvent((event) => note(event.type, { event }));
  realtime.onConnectionEvent((event) =>
    note(`sdk.${event.type}`, { reason: event.reason, error: event.error?.message }),
  );
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  realtime.peerConnection.addTrack(microphone.getAudioTracks()[0], microphone);
  const arrived = new Promise((resolve) => (realtime.peerConnection.ontrack = resolve));
  await realtime.connect({
    exchangeSdp: async (offer, { signal }) => {
      const response = await fetch(`${relay}/v1/realtime/calls`, {
        method: "POST",
        headers: { Authorization: `Bearer ${value}`, "Content-Type": "application/sdp" },
        body: offer,
        signal,
      });
      if (!response.ok) throw new Error(await response.text());
      return response.text();
    },
  });
  window.heard = listen((await arrived).streams[0], tones);
};
