// A call with a camera: what went out, what came back, and how much of it had to be sent again.

window.connect = async (relay) => {
  const pc = new RTCPeerConnection();
  const media = { audio: true, video: { width: 320, height: 240, frameRate: 15 } };
  const stream = await navigator.mediaDevices.getUserMedia(media);
  for (const track of stream.getTracks()) pc.addTrack(track, stream);
  pc.createDataChannel("oai-events");
  const video = Object.assign(document.createElement("video"), { autoplay: true, muted: true });
  pc.ontrack = ({ track, streams }) => {
    if (track.kind === "video") video.srcObject = streams[0] ?? new MediaStream([track]);
  };
  await pc.setLocalDescription();
  const response = await fetch(`${relay}/v1/realtime/calls`, {
    method: "POST",
    headers: { "Content-Type": "application/sdp" },
    body: pc.localDescription.sdp,
  });
  if (!response.ok) throw new Error(await response.text());
  const answer = await response.text();
  await pc.setRemoteDescription({ type: "answer", sdp: answer });
  window.pc = pc;
  setInterval(async () => (window.measured = await measure(pc, video)), 200);
  return answer;
};

async function measure(pc, video) {
  const found = {};
  for (const entry of (await pc.getStats()).values()) {
    if (entry.kind === "video" && /^(in|out)bound-rtp$/.test(entry.type)) found[entry.type] = entry;
  }
  return { ...found, state: pc.connectionState, width: video.videoWidth };
}
