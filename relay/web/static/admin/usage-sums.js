/** Usage rows added up: pure. */

import { count, money } from "./dom.js";

const DAY_MS = 86_400_000;
const MAX_DAYS = 1100;
const MAX_BARS = 120;
const MAX_STACKED = 6; // as many as there are colours

/** @param {Record<string, number>} figures by modality @returns {number} */
export function add(figures) {
  return Object.values(figures).reduce((all, one) => all + one, 0);
}

/** What is plotted of a row. */
export const METRICS = [
  { name: "Cost", of: (row) => row.cost_usd, write: money },
  { name: "Tokens", of: (row) => add(row.tokens.input) + add(row.tokens.output) + row.tokens.unknown, write: compact },
  { name: "Calls", of: (row) => row.calls, write: count },
  { name: "Minutes", of: (row) => row.duration_s / 60, write: (n) => count(n < 10 ? Math.round(n * 10) / 10 : Math.round(n)) },
];

/** @param {number} n @returns {string} "950", "12.5k", "3.2M" */
function compact(n) {
  return n.toLocaleString("en-US", { notation: "compact", maximumFractionDigits: 1 });
}

/** @param {any[]} rows @param {(row: any) => number} of @returns {number} */
export function sum(rows, of) {
  return rows.reduce((all, row) => all + of(row), 0);
}

/**
 * Rows by key or model, the dearest first. `stacked` are what fits the colours: the rest is one.
 * @param {any[]} rows @param {"key" | "model"} by
 */
export function groups(rows, by) {
  /** @type {Map<string | null, any[]>} */
  const members = new Map();
  for (const row of rows) members.set(row[by], [...(members.get(row[by]) ?? []), row]);
  const all = [...members].map(([label, found]) => ({ label: label ?? `no ${by}`, members: found }));
  all.sort((a, b) => weight(b) - weight(a) || (a.label < b.label ? -1 : 1));
  const many = all.length > MAX_STACKED;
  const stacked = all.slice(0, many ? MAX_STACKED - 1 : MAX_STACKED);
  if (many) stacked.push({ label: "others", members: all.slice(MAX_STACKED - 1).flatMap((group) => group.members) });
  return { all, stacked: stacked.map((group, at) => ({ ...group, colour: `--plot-${at + 1}` })) };
}

/** The cost; calls where nothing has a price. */
function weight({ members }) {
  return sum(members, (row) => row.cost_usd) + sum(members, (row) => row.calls) * 1e-9;
}

/** How many days are one bar: more bars than this cannot be told apart. @param {string[]} days */
export function daysInBar(days) {
  return days.length > MAX_BARS ? 7 : 1;
}

/**
 * @param {any[]} rows @param {string[]} days @param {(row: any) => number} of @returns {number[]} a sum for each bar
 */
export function bars(rows, days, of) {
  const width = daysInBar(days);
  const places = new Map(days.map((day, at) => [day, Math.floor(at / width)]));
  const sums = Array(Math.ceil(days.length / width)).fill(0);
  for (const row of rows) {
    const at = places.get(row.day);
    if (at !== undefined) sums[at] += of(row);
  }
  return sums;
}

/** @param {string} since @param {string} until @returns {string[]} both and what is between, "2026-03-14" */
export function daysOf(since, until) {
  const first = Date.parse(since);
  const length = Math.min(MAX_DAYS, Math.round((Date.parse(until) - first) / DAY_MS) + 1);
  return Array.from({ length: Math.max(0, length || 0) }, (_, at) => new Date(first + at * DAY_MS).toISOString().slice(0, 10));
}
