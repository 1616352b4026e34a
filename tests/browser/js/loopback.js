// Two peer connections in one page: the harness without anything of ours between.
import { listen } from "./ear.js";

window.connect = async (tones) => {
  const [here, there] = [new RTCPeerConnection(), new RTCPeerConnection()];
  here.onicecandidate = ({ candidate }) => there.addIceCandidate(candidate);
  there.onicecandidate = ({ candidate }) => here.addIceCandidate(candidate);
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  here.addTrack(microphone.getAudioTracks()[0], microphone);
  const arrived = new Promise((resolve) => (there.ontrack = resolve));
  await here.setLocalDescription();
  await there.setRemoteDescription(here.localDescription);
  await there.setLocalDescription();
  await here.setRemoteDescription(there.localDescription);
  window.heard = listen((await arrived).streams[0], tones);
};
