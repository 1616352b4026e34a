/** When each response was asked for, made and heard: which were slow, and what took the time. Pure. */

export const SLOW_MS = 1500; // a pause that people notice as one
const SLOW_SHARE = 2; // of the call's median
const FEWEST = 5; // responses for a median to mean something

/** @typedef {{id: string, trigger: string, status: string, at: number, from: number, latency: number | null, slow: boolean, tool: boolean, created: number, audible: number | null, done: number | null, played: number | null}} Response times in ms of the call; `from` is what its wait counts from */

/** @param {any[] | undefined} timings of `session.json` @returns {Response[]} in the order of time */
export function responsesOf(timings) {
  const found = (timings ?? []).map(responseOf).sort((a, b) => a.at - b.at);
  const limit = slowFrom(found.map(({ latency }) => latency).filter((ms) => ms !== null));
  for (const response of found) response.slow = response.latency !== null && response.latency >= limit;
  return found;
}

/** @param {any} timing @returns {Response} */
function responseOf(timing) {
  const from = timing.speech_stopped_ms ?? timing.requested_ms ?? timing.created_ms;
  const audible = timing.audible_ms ?? timing.playing_ms ?? null;
  return {
    id: String(timing.id),
    trigger: String(timing.trigger),
    status: String(timing.status),
    at: from,
    from,
    latency: timing.latency_ms ?? (audible === null ? null : Math.max(0, audible - from)),
    slow: false,
    tool: Boolean(timing.after_tool),
    created: timing.created_ms,
    audible,
    done: timing.done_ms ?? null,
    played: timing.played_ms ?? null,
  };
}

/** @param {number[]} latencies @returns {number} ms from which one is slow */
export function slowFrom(latencies) {
  if (latencies.length < FEWEST) return SLOW_MS;
  const median = [...latencies].sort((a, b) => a - b)[Math.floor(latencies.length / 2)];
  return Math.min(SLOW_MS, Math.max(SLOW_SHARE * median, SLOW_MS / 2));
}

/** How long answers were waited for. @param {Response[]} responses @returns {{count: number, p50: number, p95: number}} in ms */
export function spreadOf(responses) {
  const ranked = responses
    .map(({ latency }) => latency)
    .filter((ms) => ms !== null)
    .sort((a, b) => a - b);
  const rank = (/** @type {number} */ percent) =>
    ranked[Math.max(0, Math.ceil((ranked.length * percent) / 100) - 1)] ?? 0;
  return { count: ranked.length, p50: rank(50), p95: rank(95) };
}

const SETUP = [
  ["gather", "Both descriptions ready", "request"],
  ["upstream", "Upstream's answer", "request"],
  ["answered", "Answer sent", "request"],
  ["client_connected", "Client connected", "answer"],
  ["upstream_connected", "Upstream connected", "answer"],
  ["client_first_packet", "First packet from the client", "answer"],
  ["upstream_first_packet", "First packet from the upstream", "answer"],
];

/**
 * The setup's phases on one clock, which begins with the request.
 *
 * @param {Record<string, number> | undefined} setup `setup_ms`: some count from the request, some from the answer
 * @returns {{label: string, from: number, to: number}[]} in ms
 */
export function setupOf(setup) {
  const answered = setup?.answered ?? 0;
  return SETUP.filter(([name]) => typeof setup?.[name] === "number").map(([name, label, since]) => {
    const from = since === "answer" ? answered : 0;
    return { label, from, to: from + setup[name] };
  });
}
