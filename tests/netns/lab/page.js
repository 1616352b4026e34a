// A caller who can tell how the call went: times, path, both voices, events both ways, and the longest gap.
import { connect } from "/relay.js";

const LOUD = 0.01; // RMS; silence is 0
const SAMPLE_MS = 10;

const context = new AudioContext();
const mouth = new MediaStreamAudioDestinationNode(context);
const voice = await context.decodeAudioData(await (await fetch("/static/sample-1.ogg")).arrayBuffer());

/** One POST and nothing more, as a client does that knows no relay. */
async function connectStock({ stream, onTrack, onEvent, onState }) {
  const pc = new RTCPeerConnection();
  pc.ontrack = ({ streams }) => onTrack(streams[0]);
  pc.addTrack(stream.getTracks()[0], stream);
  const channel = pc.createDataChannel("oai-events");
  channel.onmessage = ({ data }) => onEvent(JSON.parse(data));
  await pc.setLocalDescription();
  onState("calling");
  const headers = { "Content-Type": "application/sdp" };
  const answer = await fetch("/v1/realtime/calls", { method: "POST", headers, body: pc.localDescription.sdp });
  onState("connecting");
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  await new Promise((done) => (channel.onopen = done));
  onState("connected");
  const send = (event) => channel.send(JSON.stringify(event));
  return { pc, send, hangUp: async () => pc.close() };
}

window.reach = {
  states: [], // [name, ms since the page began]
  events: [], // types
  loudness: 0,
  packets: 0,
  firstAt: null,
  lastAt: null,
  gap: 0,

  /** Calls, lets the assistant speak, and answers once its first packet has come. */
  async open({ stock = false, ...options }) {
    // Who may use the microphone shows its addresses and binds to them, as a voice call's browser does.
    const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
    microphone.getTracks().forEach((track) => track.stop());
    const call = (stock ? connectStock : connect)({
      stream: mouth.stream,
      onTrack: (stream) => this.hear(stream),
      onEvent: ({ type }) => this.events.push(type),
      onState: (state) => this.states.push([state, performance.now()]),
      ...options,
    });
    this.call = await call;
    this.watch();
    this.call.send({ type: "response.create" });
    await this.until(() => this.firstAt !== null, "no packet came");
    const posted = this.at("calling");
    return {
      answer: this.at("connecting") - posted,
      connected: this.at("connected") - posted,
      first_packet: this.firstAt - posted,
    };
  },

  /** Speaks until the far end has noticed, and says whether it was heard itself. */
  async talk() {
    await this.until(() => this.loudness > LOUD, "the assistant was not heard");
    const speech = new AudioBufferSourceNode(context, { buffer: voice });
    speech.connect(mouth);
    speech.start();
    await this.until(() => this.events.includes("input_audio_buffer.speech_started"), "the caller was not heard");
    await this.until(() => this.events.includes("response.done"), "no event came back");
  },

  /** The answer to the caller's words, which is a long one: something to lose. Resolves once it can be heard. */
  async story() {
    await this.until(() => this.events.includes("input_audio_buffer.committed"), "the caller never stopped");
    const before = this.packets;
    await this.until(() => this.packets > before + 25, "no long answer came");
    this.gap = 0;
  },

  /** The ground is about to move. */
  move() {
    this.states.push(["moved", performance.now()]);
    this.gap = 0;
  },

  /** Until the call goes on: how long nothing came, and how long the restart took, where there was one; in ms. */
  async recovered() {
    const since = (name) => this.states.slice(this.states.findIndex(([state]) => state === "moved")).find(([state]) => state === name)?.[1];
    await this.until(() => since("connected") || (this.gap > 300 && !since("reconnecting")), "the call did not come back");
    await this.until(() => performance.now() - this.lastAt < 100, "no packet comes");
    return { gap: this.gap, restart: since("connected") - since("reconnecting") || null };
  },

  async path() {
    const stats = await this.call.pc.getStats();
    const transport = [...stats.values()].find(({ type }) => type === "transport");
    const pair = stats.get(transport.selectedCandidatePairId);
    const local = stats.get(pair.localCandidateId);
    const remote = stats.get(pair.remoteCandidateId);
    const first = local.candidateType === "relay" ? `turn-${local.relayProtocol}` : local.protocol;
    return { first, local: local.candidateType, remote: remote.candidateType };
  },

  hear(stream) {
    const element = new Audio();
    element.srcObject = stream; // without one Chromium decodes nothing
    element.play();
    const ear = new AnalyserNode(context, { fftSize: 512 });
    new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(ear);
    const samples = new Float32Array(512);
    setInterval(() => {
      ear.getFloatTimeDomainData(samples);
      this.loudness = Math.max(this.loudness, Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / 512));
    }, SAMPLE_MS);
  },

  /** Notes when packets come. The browser's figures are up to 50 ms old; their time stamps are exact. */
  async watch() {
    for (;;) {
      const stats = [...(await this.call.pc.getStats()).values()];
      const inbound = stats.find(({ type }) => type === "inbound-rtp");
      if (inbound && inbound.packetsReceived > this.packets) {
        const at = inbound.lastPacketReceivedTimestamp - performance.timeOrigin;
        this.firstAt ??= at - 20 * (inbound.packetsReceived - 1);
        const since = at - 20 * (inbound.packetsReceived - this.packets - 1); // when the first of these came
        if (this.lastAt !== null) this.gap = Math.max(this.gap, since - this.lastAt);
        this.lastAt = at;
        this.packets = inbound.packetsReceived;
      }
      await new Promise((done) => setTimeout(done, SAMPLE_MS));
    }
  },

  at(state) {
    return this.states.find(([name]) => name === state)[1];
  },

  async until(condition, otherwise, timeout = 10_000) {
    const start = performance.now();
    while (!condition()) {
      if (performance.now() - start > timeout) throw new Error(otherwise);
      await new Promise((done) => setTimeout(done, SAMPLE_MS));
    }
  },
};
