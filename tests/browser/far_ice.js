// The far end's ICE, for tests of trickle and restarts: what it is told by PATCH, and what it answers.
Object.assign(window.far, {
  /** Takes a restart, and gives its own new side as a fragment. */
  async restart(frag) {
    const value = (name) => frag.match(new RegExp(`^a=ice-${name}:(\\S+)`, "m"))[1];
    const old = this.pc.remoteDescription.sdp.split("\r\n").filter((line) => !line.startsWith("a=candidate:"));
    const sdp = old.map((line) => line.replace(/^a=ice-(ufrag|pwd):.*/, (_, name) => `a=ice-${name}:${value(name)}`));
    await this.pc.setRemoteDescription({ type: "offer", sdp: sdp.join("\r\n") });
    const gathered = this.gathered();
    await this.pc.setLocalDescription();
    await gathered;
    const lines = this.pc.localDescription.sdp.split("\r\n");
    const first = lines.slice(0, lines.indexOf(lines.filter((line) => line.startsWith("m="))[1]));
    return first.filter((line) => /^a=(ice-ufrag|ice-pwd|mid|candidate|end-of-candidates)|^m=/.test(line)).join("\r\n") + "\r\n";
  },
  gathered() {
    return new Promise((done) => {
      this.pc.addEventListener("icecandidate", ({ candidate }) => candidate === null && done());
    });
  },
});
