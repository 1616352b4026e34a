/** A transcript's turns as rows to be shown: a tool's result stands with its call. Pure. docs/transcript.md */

/** @typedef {{id: string, who: string, side: "client" | "upstream" | "other", start: number, end: number | null, said: string, unheard: string, note: string, live: boolean, struck: boolean, tool: Tool | null, segments: any[]}} Row times in ms */
/** @typedef {{name: string, arguments: string | null, output: string | null, waiting: boolean}} Tool */

const NAMES = { user: "User", assistant: "Assistant", system: "System", tool: "Tool" };
const SIDES = { user: "client", assistant: "upstream" };
const MAX_TEXT = 100_000;

/** @param {any[]} turns of `transcript.json` @returns {Row[]} in the order of the conversation */
export function rowsOf(turns) {
  const results = new Map();
  const called = new Set();
  for (const turn of turns) {
    if (turn.kind === "tool_result" && turn.tool?.call_id) results.set(turn.tool.call_id, turn);
    if (turn.kind === "tool_call" && turn.tool?.call_id) called.add(turn.tool.call_id);
  }
  return turns
    .filter((turn) => !(turn.kind === "tool_result" && called.has(turn.tool?.call_id)))
    .map((turn) => row(turn, results.get(turn.tool?.call_id)));
}

/** @param {any} turn @param {any} result @returns {Row} */
function row(turn, result) {
  const text = cut(turn.text ?? "");
  const heard = turn.heard ? cut(turn.heard.text) : text;
  return {
    id: turn.id,
    who: NAMES[turn.speaker] ?? String(turn.speaker),
    side: SIDES[turn.speaker] ?? "other",
    start: turn.start_ms,
    end: turn.end_ms ?? null,
    said: heard,
    unheard: text.slice(heard.length),
    note: noteOf(turn),
    live: turn.status === "live",
    struck: Boolean(turn.deleted),
    tool: turn.tool ? toolOf(turn, result) : null,
    segments: turn.segments ?? [],
  };
}

/** @param {any} turn @param {any} result @returns {Tool} */
function toolOf({ tool, kind, status }, result) {
  const output = kind === "tool_result" ? tool.output : (result?.tool?.output ?? tool.output);
  return {
    name: [tool.server, tool.name || (kind === "tools" ? "tools" : "")].filter(Boolean).join(" · "),
    arguments: tool.arguments ?? (tool.names ? tool.names.join(", ") : null),
    output: output ?? null,
    waiting: kind === "tool_call" && output == null && status !== "failed",
  };
}

/** What is to be said of a turn beside its words. @param {any} turn @returns {string} */
function noteOf(turn) {
  const notes = [];
  if (turn.kind === "text") notes.push("written");
  if (turn.kind === "approval_request") notes.push("asks for approval");
  if (turn.kind === "approval_response") notes.push("approval");
  if (turn.kind === "other") notes.push("an item of an unknown kind");
  if (turn.status === "interrupted" && turn.heard) {
    notes.push(`interrupted after ${(turn.heard.ms / 1000).toFixed(1)} s`);
    if (turn.heard.estimate) notes.push("the place is an estimate");
  } else if (turn.status !== "completed" && turn.status !== "live") notes.push(turn.status);
  if (turn.transcription && turn.transcription !== "done") notes.push(`transcription ${turn.transcription}`);
  if (turn.reason) notes.push(String(turn.reason).replaceAll("_", " "));
  if (turn.images) notes.push(turn.images === 1 ? "an image" : `${turn.images} images`);
  if (turn.deleted) notes.push("deleted later");
  if (turn.out_of_band) notes.push("out of band");
  return notes.join(", ");
}

/** The rows by time, for `currentRow`. @param {Row[]} rows @returns {Row[]} */
export function byTime(rows) {
  return [...rows].sort((a, b) => a.start - b.start);
}

/** @param {Row[]} sorted by time @param {number} ms @returns {Row | null} the one that began last */
export function currentRow(sorted, ms) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle].start <= ms) low = middle + 1;
    else high = middle;
  }
  return low > 0 ? sorted[low - 1] : null;
}

/** @param {string} text */
function cut(text) {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)} … ${text.length - MAX_TEXT} characters more` : text;
}
