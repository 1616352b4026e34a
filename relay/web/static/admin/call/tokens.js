/** Tokens by modality, as `session.json` sums them up and as one `response.done` tells them. Pure. */

export const MODALITIES = ["text", "audio", "image"];

/** @typedef {{input: Record<string, number>, output: Record<string, number>, cached: number, total: number, share: number | null}} Used `share` of the input that was cached, 0 to 1 */

/** @param {any} tokens of a line of `usage` @returns {Used} */
export function usedOf(tokens) {
  const input = pick(tokens?.input);
  const output = pick(tokens?.output);
  const cached = sum(pick(tokens?.cached)) + number(tokens?.unknown_cached);
  return used(input, output, cached, number(tokens?.unknown));
}

/** @param {any} response of a `response.done` @returns {Used | null} null: it tells of none */
export function responseUsed(response) {
  const usage = response?.usage;
  if (usage === null || typeof usage !== "object") return null;
  const input = pick(usage.input_token_details, "_tokens");
  const output = pick(usage.output_token_details, "_tokens");
  const cached = number(usage.input_token_details?.cached_tokens);
  const untold =
    Math.max(0, number(usage.input_tokens) - sum(input)) + Math.max(0, number(usage.output_tokens) - sum(output));
  return used(input, output, cached, untold);
}

/** @param {Record<string, number>} input @param {Record<string, number>} output @param {number} cached @param {number} unknown */
function used(input, output, cached, unknown) {
  const taken = sum(input);
  return {
    input,
    output,
    cached,
    total: taken + sum(output) + unknown,
    share: taken > 0 ? Math.min(1, cached / taken) : null,
  };
}

/** @param {any} told @param {string} suffix */
function pick(told, suffix = "") {
  return Object.fromEntries(MODALITIES.map((name) => [name, number(told?.[name + suffix])]));
}

/** @param {unknown} value */
function number(value) {
  return typeof value === "number" && value > 0 && Number.isFinite(value) ? value : 0;
}

/** @param {Record<string, number>} parts */
function sum(parts) {
  return Object.values(parts).reduce((total, part) => total + part, 0);
}
