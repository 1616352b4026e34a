/**
 * Two media elements, one clock: how far a follower may be from its leader, and what brings it back. Pure.
 *
 * A difference that nobody hears is left alone, a small one is taken up by playing a little faster or slower, which
 * cannot be heard in speech, and a large one by a seek, which can.
 */

export const TIGHT_S = 0.012; // below this nothing is done: the elements' own clocks are no finer
export const LOOSE_S = 0.3; // above this a seek is quicker
const GAIN = 1.5; // of the difference a second: half of it is gone after 0.5 s
const MOST = 0.06;

/** @typedef {{seek: boolean, rate: number}} Correction `rate` is what the follower is to play at */

/**
 * @param {number} leader its position in seconds
 * @param {number} follower
 * @param {number} rate at which the leader plays
 * @returns {Correction}
 */
export function correction(leader, follower, rate) {
  const ahead = follower - leader;
  if (Math.abs(ahead) < TIGHT_S) return { seek: false, rate };
  if (Math.abs(ahead) > LOOSE_S * Math.max(1, rate)) return { seek: true, rate };
  return { seek: false, rate: rate * (1 - Math.max(-MOST, Math.min(MOST, ahead * GAIN))) };
}

/**
 * Who leads: of the tracks that have not ended the one that does so by now, else the longest. null where all are over.
 *
 * @param {{duration: number, ended: boolean}[]} tracks @param {number} current index of the leader by now
 * @returns {number | null}
 */
export function leaderOf(tracks, current) {
  if (tracks[current] && !tracks[current].ended) return current;
  let found = null;
  for (const [index, track] of tracks.entries()) {
    if (!track.ended && (found === null || track.duration > tracks[found].duration)) found = index;
  }
  return found;
}
