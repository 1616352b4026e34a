/** The way the packets take, from the browser's own statistics (W3C webrtc-stats). */

import { make } from "./dom.js";

/** @typedef {Record<string, any>} Stat */
/** @typedef {[name: string, value: string][]} Rows */

/**
 * What `getStats()` knows about a call's audio, as titled rows ready to be shown.
 *
 * @param {RTCPeerConnection} pc
 * @returns {Promise<{title: string, rows: Rows}[]>}
 */
export async function readPath(pc) {
  const report = /** @type {Map<string, Stat>} */ (/** @type {unknown} */ (await pc.getStats()));
  const stats = [...report.values()];
  const find = (/** @type {string} */ type) => stats.find((stat) => stat.type === type && (stat.kind ?? "audio") === "audio");
  const inbound = find("inbound-rtp");
  const pair = selectedPair(stats, report);
  return [
    { title: "Route", rows: routeRows(pair, report, find("transport")) },
    { title: "Heard: relay to you", rows: inboundRows(inbound, report) },
    { title: "Spoken: you to relay", rows: outboundRows(find("outbound-rtp"), find("remote-inbound-rtp"), report) },
  ];
}

/** @param {Stat[]} stats @param {Map<string, Stat>} report @returns {Stat | undefined} */
function selectedPair(stats, report) {
  const transport = stats.find((stat) => stat.type === "transport" && stat.selectedCandidatePairId);
  if (transport) return report.get(transport.selectedCandidatePairId);
  return stats.find((stat) => stat.type === "candidate-pair" && stat.nominated && stat.state === "succeeded");
}

/** @param {Stat | undefined} pair @param {Map<string, Stat>} report @param {Stat | undefined} transport @returns {Rows} */
function routeRows(pair, report, transport) {
  if (!pair) return [["Pair in use", "none yet"]];
  return [
    ["Here", candidate(report.get(pair.localCandidateId))],
    ["Relay", candidate(report.get(pair.remoteCandidateId))],
    ["Round trip", milliseconds(pair.currentRoundTripTime)],
    ["Path changes", count(Math.max(0, (transport?.selectedCandidatePairChanges ?? 1) - 1))],
    ["Encryption", [transport?.tlsVersion && dtls(transport.tlsVersion), transport?.srtpCipher?.replace("SRTP_", "")].filter(Boolean).join(", ") || "–"],
  ];
}

/** @param {Stat | undefined} stat e.g. "host udp 192.0.2.1:5000" */
function candidate(stat) {
  if (!stat) return "–";
  const address = stat.address ?? stat.ip;
  const shown = address?.includes(":") ? `[${address}]` : address || "address hidden";
  const relayed = stat.relayProtocol ? ` over ${stat.relayProtocol}` : "";
  return `${stat.candidateType} ${stat.protocol}${relayed} ${shown}:${stat.port}`;
}

/** @param {string} version the two bytes of the wire in hex: FEFD is DTLS 1.2 */
function dtls(version) {
  return { FEFD: "DTLS 1.2", FEFC: "DTLS 1.3" }[version.toUpperCase()] ?? `DTLS ${version}`;
}

/** @param {Stat | undefined} stat @param {Map<string, Stat>} report @returns {Rows} */
function inboundRows(stat, report) {
  if (!stat) return [["Packets", "none yet"]];
  const { packetsReceived = 0, packetsLost = 0, jitterBufferDelay = 0, jitterBufferEmittedCount = 0 } = stat;
  const buffered = jitterBufferEmittedCount > 0 ? jitterBufferDelay / jitterBufferEmittedCount : undefined;
  return [
    ["Packets", count(packetsReceived)],
    ["Lost", lost(packetsLost, packetsReceived)],
    ["Jitter", milliseconds(stat.jitter)],
    ["Jitter buffer", milliseconds(buffered)],
    ["Concealed", share(stat.concealedSamples - (stat.silentConcealedSamples ?? 0), stat.totalSamplesReceived)],
    ["Codec", codec(report.get(stat.codecId))],
  ];
}

/** @param {Stat | undefined} stat @param {Stat | undefined} remote @param {Map<string, Stat>} report @returns {Rows} */
function outboundRows(stat, remote, report) {
  if (!stat) return [["Packets", "none yet"]];
  return [
    ["Packets", count(stat.packetsSent)],
    ["Lost", remote ? lost(remote.packetsLost, stat.packetsSent) : "no report yet"],
    ["Jitter", milliseconds(remote?.jitter)],
    ["Round trip, end to end", milliseconds(remote?.roundTripTime)], // RTCP passes the relay unchanged
    ["Codec", codec(report.get(stat.codecId))],
  ];
}

/** @param {Stat | undefined} stat */
function codec(stat) {
  return stat ? `${stat.mimeType.replace("audio/", "")} ${stat.clockRate / 1000} kHz` : "–";
}

/** @param {number | undefined} seconds */
function milliseconds(seconds) {
  if (seconds === undefined) return "–";
  const ms = seconds * 1000;
  if (ms === 0) return "under 1 ms"; // Chromium's round trips come in whole ones
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

/** @param {number} value */
function count(value) {
  return value.toLocaleString("en");
}

/** @param {number} packets @param {number} others that did arrive */
function lost(packets, others) {
  return packets > 0 ? `${count(packets)} (${share(packets, packets + others)})` : "0";
}

/** @param {number} part @param {number | undefined} whole */
function share(part, whole) {
  return whole ? `${((100 * part) / whole).toFixed(1)} %` : "–";
}

/** @param {HTMLElement} place @param {{title: string, rows: Rows}[]} groups */
export function showPath(place, groups) {
  const sections = groups.map(({ title, rows }) => {
    const pairs = rows.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value)));
    return make("section", "", make("h2", "", title), make("dl", "", ...pairs));
  });
  place.replaceChildren(...sections);
}
