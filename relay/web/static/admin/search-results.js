/** One call in the list of what is stored, and the proof that one is deleted. */

import { clock, count, h, icon, money, plural, size } from "./dom.js";

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const YEAR = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const SPEAKERS = { user: "Client", assistant: "Assistant", tool: "Tool" };

/** @param {string} iso @returns {string} "Today", "Saturday, March 14" */
export function dayOf(iso) {
  const [at, now] = [new Date(iso), new Date()];
  if (at.toDateString() === now.toDateString()) return "Today";
  return (at.getFullYear() === now.getFullYear() ? DAY : YEAR).format(at);
}

/**
 * @param {any} session of the API's list @param {(row: HTMLElement) => void} onDelete @returns {HTMLElement}
 */
export function resultRow(session, onDelete) {
  const { id, started_at: at, duration_s: seconds, model, hits } = session;
  const live = session.state === "live";
  const remove = h("button", { type: "button", class: "quiet icon danger", "aria-label": `Delete ${id}`, title: "Delete" }, icon("delete"));
  const row = h(
    "li",
    { class: "result", "data-id": id },
    h("time", { class: "began", datetime: at, title: EXACT.format(new Date(at)) }, TIME.format(new Date(at))),
    h("div", { class: "what" },
      h("a", { href: address(id), class: "id", title: id }, id),
      h("p", { class: "who" }, h("span", { class: "model" }, model ?? "no model"), h("span", { class: "owner" }, session.key_id ?? session.owner ?? ""))),
    h("span", { class: "lasted" }, seconds === null ? "–" : clock(seconds * 1000)),
    h("span", { class: "turns" }, plural(session.turns, "turn")),
    h("span", { class: "cost" }, session.cost_usd === undefined ? "–" : money(session.cost_usd)),
    h("div", { class: "state" }, outcome(session)),
    live ? h("span", { class: "icon" }) : remove,
    hits.length > 0 && h("ul", { class: "hits" }, hits.map((hit) => hitRow(id, hit))),
  );
  remove.addEventListener("click", () => onDelete(row));
  return row;
}

/** @param {any} session */
function outcome({ state, outcome: ended, reason, losses, local }) {
  const shown = state === "ended" ? (ended ?? "ended") : state;
  const kind = state === "live" ? "now" : ended === "completed" ? "fine" : "other";
  return [
    h("span", { class: `chip ${kind}`, title: reason ? reason.replaceAll("_", " ") : null }, shown),
    losses > 0 && h("span", { class: "chip other", title: "Packets and events that the recording lacks" }, `${count(losses)} lost`),
    !local && h("span", { class: "chip", title: "Its audio and events are uploaded, and no longer on this machine" }, "uploaded"),
  ];
}

/** @param {string} id @param {any} hit */
function hitRow(id, { speaker, at_s: at, snippet }) {
  const quote = snippet.map(({ text, match }) => (match ? h("mark", null, text) : text));
  const who = speaker === "user" ? "you" : speaker === "assistant" ? "them" : "";
  return h("li", null,
    h("a", { href: address(id, at), class: "hit" },
      h("span", { class: `speaker ${who}` }, SPEAKERS[speaker] ?? speaker, h("time", null, at === null ? "" : clock(at * 1000))),
      h("q", null, quote)));
}

/** @param {string} id @param {number | null} [at] seconds into the call */
function address(id, at = null) {
  return `#/sessions/${encodeURIComponent(id)}${at === null ? "" : `?at=${at}`}`;
}

/**
 * What a deletion took away, and what a look around still found.
 * @param {any} deletion the API's answer @returns {HTMLElement[]}
 */
export function proof({ id, at, files, objects, rows, remains }) {
  const went = Object.entries({ ...files, ...objects }).map(([name, bytes]) => [name, size(bytes)]);
  return [
    h("p", { class: "hint" }, h("code", null, id), `, ${new Date(at).toLocaleString()}`),
    h("table", { class: "proof" },
      h("thead", null, h("tr", null, h("th", null, "Gone"), h("th", null, "Size"))),
      h("tbody", null,
        went.map(([name, bytes]) => h("tr", null, h("td", null, h("code", null, name)), h("td", null, bytes))),
        h("tr", null, h("td", null, "entries of the index"), h("td", null, count(rows))))),
    remains.length
      ? h("div", { class: "notice" }, "This is still there; try again: ", h("code", null, remains.join(", ")))
      : h("p", { class: "proven" }, "A look around found nothing that is left of it."),
  ];
}
