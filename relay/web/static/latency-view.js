/** Each answer's way from question to sound: a figure, and a bar with its stations. */

import { byId, make, seconds } from "./dom.js";
import { latencyOf, medianLatency } from "./latency.js";

/** @typedef {import("./latency.js").Answer} Answer */

const TRIGGERS = { speech: "after you spoke", text: "after your message", server: "on its own" };

/** @param {Answer[]} answers oldest first */
export function showLatency(answers) {
  const last = answers.findLast((answer) => latencyOf(answer) !== null);
  byId("latency-last").textContent = seconds(last ? latencyOf(last) : null);
  byId("latency-median").textContent = seconds(medianLatency(answers));
  const longest = Math.max(500, ...answers.map(lastStation));
  byId("answers").replaceChildren(...answers.toReversed().map((answer) => row(answer, longest)));
}

/** @param {Answer} answer ms until its last station */
function lastStation({ from, createdAt, bufferAt, audibleAt }) {
  return Math.max(createdAt, bufferAt ?? 0, audibleAt ?? 0) - from;
}

/** @param {Answer} answer @param {number} longest in ms, the bar's full width */
function row(answer, longest) {
  const stations = /** @type {[string, string, number | null][]} */ ([
    ["created", "response created", answer.createdAt],
    ["buffered", "audio started", answer.bufferAt],
    ["audible", "heard here", answer.audibleAt],
  ]).filter(([, , at]) => at !== null);
  const bar = make("div", "bar");
  const figures = stations.map(([kind, name, at]) => {
    const after = /** @type {number} */ (at) - answer.from;
    const mark = make("i", kind);
    mark.style.setProperty("left", `${Math.min(100, Math.max(0, (100 * after) / longest))}%`);
    bar.append(mark);
    return make("span", kind, `${name} ${seconds(Math.max(0, after))}`);
  });
  const fill = make("b");
  fill.style.setProperty("width", `${Math.min(100, Math.max(0, (100 * lastStation(answer)) / longest))}%`);
  bar.prepend(fill);
  const outcome = answer.interrupted ? ", interrupted" : "";
  const head = make("p", "head", make("strong", "", seconds(latencyOf(answer))), ` ${TRIGGERS[answer.trigger]}${outcome}`);
  return make("li", "", head, bar, make("p", "stations", ...figures));
}
