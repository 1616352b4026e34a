// Listens to a remote track as a person would: what is measured here was decoded and is audible.

const WINDOW = 2048; // samples: 43 ms at 48 kHz
const EVERY_MS = 25;

/** The share of a window's power that one frequency has, 0 to 1 (Goertzel). */
function share(samples, hz, sampleRate) {
  const coefficient = 2 * Math.cos((2 * Math.PI * hz) / sampleRate);
  let last = 0;
  let previous = 0;
  let power = 0;
  for (const [index, value] of samples.entries()) {
    const weighed = value * Math.sin((Math.PI * index) / samples.length); // less leakage
    power += weighed * weighed;
    [previous, last] = [last, weighed + coefficient * last - previous];
  }
  const tone = last * last + previous * previous - coefficient * last * previous;
  return power > 0 ? (2 * tone) / (power * samples.length) : 0;
}

/**
 * Measures a MediaStream until its page goes: `heard` grows by one entry a window,
 * `{ at, rms, tones }`: milliseconds of performance.now(), 0 to 1, the share of each of `tones` (Hz).
 */
export function listen(stream, tones = []) {
  const element = new Audio(); // Chromium pulls a remote track only while an element plays it
  element.srcObject = stream;
  element.muted = true;
  element.play();
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: WINDOW });
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(WINDOW);
  const heard = [];
  setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const rms = Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / WINDOW);
    const shares = tones.map((hz) => share(samples, hz, context.sampleRate));
    heard.push({ at: performance.now(), rms, tones: shares });
  }, EVERY_MS);
  return heard;
}
