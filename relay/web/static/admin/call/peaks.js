/** BBC audiowaveform's JSON (version 2) as what wavesurfer draws: a float a pixel and channel. Pure. */

const QUIETEST = 0.12; // a call in which nobody spoke up is not blown up to full height

/** @typedef {{version: number, channels: number, sample_rate: number, samples_per_pixel: number, bits: number, length: number, data: number[]}} Waveform */

/**
 * @param {Waveform} waveform `data` is min, max of each channel, pixel by pixel
 * @returns {{channels: Float32Array[], duration: number, loudest: number}} `duration` in seconds, levels from 0 to 1
 */
export function peaksOf({ channels, sample_rate, samples_per_pixel, bits, data }) {
  const full = bits === 16 ? 32768 : 128;
  const length = Math.floor(data.length / (2 * channels));
  const found = Array.from({ length: channels }, () => new Float32Array(length));
  let loudest = QUIETEST;
  for (let pixel = 0, at = 0; pixel < length; pixel += 1) {
    for (let channel = 0; channel < channels; channel += 1, at += 2) {
      const level = Math.max(Math.abs(data[at]), Math.abs(data[at + 1])) / full;
      found[channel][pixel] = level;
      if (level > loudest) loudest = level;
    }
  }
  return { channels: found, duration: (length * samples_per_pixel) / sample_rate, loudest };
}
