// A Realtime server's end of a call, in the page that calls it: it answers an offer, says what it is told to say,
// and plays a tone when it is told to.
window.far = {
  events: [],
  channel: null,
  async answer(sdp) {
    const pc = new RTCPeerConnection();
    const context = new AudioContext();
    const voice = new MediaStreamAudioDestinationNode(context);
    this.loudness = new GainNode(context, { gain: 0 });
    const tone = new OscillatorNode(context, { frequency: 330 });
    tone.connect(this.loudness).connect(voice);
    tone.start();
    pc.ondatachannel = ({ channel }) => {
      this.channel = channel;
      channel.onmessage = ({ data }) => this.events.push(JSON.parse(data));
    };
    pc.addTrack(voice.stream.getTracks()[0], voice.stream);
    await pc.setRemoteDescription({ type: "offer", sdp });
    await pc.setLocalDescription();
    await new Promise((done) => {
      pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && done();
      pc.onicegatheringstatechange();
    });
    this.pc = pc;
    return pc.localDescription.sdp;
  },
  say(events) {
    for (const event of events) this.channel.send(typeof event === "string" ? event : JSON.stringify(event));
  },
  async packets() {
    const stats = [...(await this.pc.getStats()).values()];
    return stats.find(({ type }) => type === "inbound-rtp")?.packetsReceived ?? 0;
  },
  play(loud) {
    this.loudness.gain.value = loud ? 0.3 : 0;
    return performance.now();
  },
};
