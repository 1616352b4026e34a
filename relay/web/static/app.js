/** The demo page: its controls, and what they show of the one call there is. */

import { Microphone } from "./audio.js";
import { byId, clock } from "./dom.js";
import { EventLog } from "./events.js";
import { showLatency } from "./latency-view.js";
import { showPath } from "./path.js";
import { CallError } from "../relay.js";
import { Session } from "./session.js";
import { VoiceStrip } from "./strip.js";
import { makeTabs } from "./tabs.js";
import { TranscriptView } from "./transcript-view.js";

const KEY_STORED_AS = "relay.key"; // in sessionStorage: gone with the tab
const SPOKEN_MS = 500; // how often the meters' values change for assistive technology

/** @typedef {"idle" | "connecting" | "live" | "ending"} Phase */

/** The controls that mean something in each phase. @type {Record<Phase, string[]>} */
const CONTROLS = {
  idle: ["source", "start"],
  connecting: ["cancel"],
  live: ["mute", "say", "interrupt", "end", "composer", "apply"],
  ending: [],
};
/** Where the focus goes when its control has gone. @type {Record<Phase, string>} */
const NEXT_FOCUS = { idle: "start", connecting: "cancel", live: "mute", ending: "transcript" };

const strip = new VoiceStrip(byId("strip"));
const log = new EventLog(byId("events"), byId("events-count"), byId("filter"), byId("deltas"));
const transcriptView = new TranscriptView(byId("turns"), byId("transcript"));
const tabs = makeTabs(byId("tabs"));

/** @type {Phase} */ let phase = "idle";
/** @type {Session | null} */ let session = null;
/** @type {AudioContext | null} */ let context = null;

async function start() {
  context ??= new AudioContext({ latencyHint: "interactive" });
  context.resume(); // within the click, or the browser keeps it silent
  const mine = new Session(context, observer);
  session = mine;
  clear();
  enter("connecting", "Connecting…");
  try {
    const sample = byId("source-sample").checked;
    await mine.open({ sample, key: byId("key").value.trim(), session: chosenSession() });
    if (session === mine && !tabs.touched) tabs.select("tab-latency");
    refreshControls();
  } catch (error) {
    if (session === mine) finish(error); // else it has ended already
  }
}

/** Shows what the session tells. @type {import("./session.js").Observer} */
const observer = {
  onState(state, error) {
    if (state === "connecting") enter("connecting", "Finding a path…");
    else if (state === "connected") enter("live", "Connected");
    else if (state === "reconnecting") enter("live", "Reconnecting…");
    else if (state === "disconnected") enter("live", "Connection interrupted…");
    else if (state === "closed" || state === "failed") finish(error);
  },
  onEvent(way, event, at) {
    if (!session) return;
    log.add(way, event, Math.max(0, at - session.startedAt));
    if (event.type === "session.created") showModel(event.session?.model ?? "");
    showAnswers(session);
    refreshControls();
  },
  onLevels(you, them, at) {
    if (!session) return;
    strip.push(at, you, them);
    strip.show(session.waits);
    showLevels(you, them, at);
    byId("clock").textContent = clock(at - session.startedAt);
  },
  onHeard: () => session && showAnswers(session),
  onVoice(stream) {
    byId("speaker").srcObject = stream;
  },
  onPath(groups) {
    byId("path-empty").hidden = true;
    showPath(byId("path"), groups);
  },
  onError: notify,
};

/** @param {unknown} error null where the call ended as it should */
function finish(error) {
  session?.close();
  session = null;
  byId("speaker").srcObject = null;
  showLevels(0, 0, Infinity);
  const kind = error instanceof CallError ? error.kind : "";
  const ended = error === null || kind === "aborted" || kind === "closed";
  enter("idle", ended ? "Call ended" : "Call failed");
  if (error !== null && kind !== "aborted") explain(error);
}

/** @param {unknown} error */
function explain(error) {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof CallError && error.status === 401) {
    const given = byId("key").value.trim() !== "";
    notify(given ? `${message} Check the relay key under Session.` : "This relay asks for a key. Enter it under Session.");
    tabs.select("tab-session");
    byId("key").focus();
  } else {
    const wait = error instanceof CallError && error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
    notify(message + wait);
  }
}

/** @param {Phase} next @param {string} status */
function enter(next, status) {
  phase = next;
  document.body.dataset.phase = phase;
  byId("status").textContent = status;
  byId("clock").hidden = phase !== "live";
  refreshControls();
}

function refreshControls() {
  const focused = document.activeElement;
  for (const id of Object.values(CONTROLS).flat()) byId(id).hidden = !CONTROLS[phase].includes(id);
  byId("say").hidden ||= !session?.speaksSamples;
  byId("interrupt").disabled = !session?.canInterrupt;
  showMute(session?.muted ?? false);
  const lost = focused instanceof HTMLElement && focused !== document.body && focused.offsetParent === null;
  if (lost) byId(NEXT_FOCUS[phase]).focus();
}

/** @param {boolean} muted */
function showMute(muted) {
  const button = byId("mute");
  button.setAttribute("aria-pressed", String(muted));
  button.querySelector("use").setAttribute("href", muted ? "#i-mic-off" : "#i-mic");
  button.querySelector("span").textContent = muted ? "Muted" : "Mute";
}

/** @param {string} model */
function showModel(model) {
  byId("model").textContent = model;
  byId("model").hidden = model === "";
}

/** @param {Session} mine */
function showAnswers(mine) {
  byId("welcome").hidden = mine.transcript.turns.length > 0;
  transcriptView.show(mine.transcript, mine.latency.answers, mine.startedAt);
  showLatency(mine.latency.answers);
}

let spokenAt = 0;

/** @param {number} you @param {number} them levels from 0 to 1 @param {number} at in ms */
function showLevels(you, them, at) {
  const speak = at - spokenAt > SPOKEN_MS;
  if (speak) spokenAt = at;
  for (const [id, level] of /** @type {const} */ ([["you-level", you], ["them-level", them]])) {
    byId(id).style.setProperty("--level", level.toFixed(3));
    if (speak) byId(id).setAttribute("aria-valuenow", String(Math.round(level * 100)));
  }
}

function clear() {
  for (const view of [log, transcriptView, strip]) view.clear();
  byId("welcome").hidden = false;
  byId("path").replaceChildren();
  byId("path-empty").hidden = false;
  showLatency([]);
  dismiss();
}

/** @param {string} message */
function notify(message) {
  byId("notice-text").textContent = message;
  byId("notice").hidden = false;
}

function dismiss() {
  byId("notice").hidden = true;
}

/** What the Session tab asks for; null where all is left to the relay. */
function chosenSession() {
  const voice = byId("voice").value;
  const instructions = byId("instructions").value.trim();
  if (!voice && !instructions) return null;
  return { ...(instructions && { instructions }), ...(voice && { audio: { output: { voice } } }) };
}

/** @param {string} form @param {() => void} action */
function onSubmit(form, action) {
  byId(form).addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    action();
  });
}

byId("start").addEventListener("click", start);
byId("cancel").addEventListener("click", () => {
  session?.hangUp();
  if (session) finish(null); // while the browser still asks for the microphone there is no call to tell us
});
byId("end").addEventListener("click", () => {
  enter("ending", "Hanging up…");
  session?.hangUp();
});
byId("mute").addEventListener("click", () => {
  session?.mute(!session.muted);
  refreshControls();
});
byId("say").addEventListener("click", () => session?.say());
byId("interrupt").addEventListener("click", () => session?.interrupt());
byId("clear").addEventListener("click", () => log.clear());
byId("notice-close").addEventListener("click", dismiss);
onSubmit("composer", () => {
  const text = byId("message").value.trim();
  if (text) session?.write(text);
  byId("message").value = "";
});
onSubmit("settings", () => {
  const chosen = chosenSession();
  if (chosen) session?.send({ type: "session.update", session: { type: "realtime", ...chosen } });
});
byId("key").addEventListener("input", () => sessionStorage.setItem(KEY_STORED_AS, byId("key").value.trim()));
addEventListener("pagehide", () => session?.hangUp());

function draw() {
  if (phase === "live") strip.draw(performance.now());
  requestAnimationFrame(draw);
}

byId("key").value = sessionStorage.getItem(KEY_STORED_AS) ?? "";
if (!Microphone.available) {
  byId("source-microphone").disabled = true;
  byId("source-sample").checked = true;
}
enter("idle", "Ready");
draw();
