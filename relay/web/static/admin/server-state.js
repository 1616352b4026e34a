/** How the server is: what it runs, and whether recording and the index go well. */

import { get } from "./api.js";
import { h } from "./dom.js";

/** A line of lamps; what is wrong is written out. */
export class ServerState {
  element = h("ul", { class: "state", "aria-label": "Server" });
  #shown = "";

  /** Asks again; what cannot be asked stays as it was. @param {AbortSignal} signal */
  async refresh(signal) {
    try {
      const { nodes } = await get("nodes", {}, { signal });
      this.#show(nodes.flatMap((node) => facts(node, nodes.length > 1)));
    } catch {
      // the list of calls, which is asked for at the same time, tells
    }
  }

  /** @param {Fact[]} found */
  #show(found) {
    const now = JSON.stringify(found);
    if (now === this.#shown) return;
    this.#shown = now;
    this.element.replaceChildren(
      ...found.map(({ name, is, detail }) => h("li", { class: is, title: detail }, h("span", { class: "lamp", "aria-hidden": "true" }), name)),
    );
  }
}

/** @typedef {{name: string, is: "good" | "bad" | "off" | "plain", detail?: string}} Fact */

/** @param {any} node @param {boolean} several @returns {Fact[]} */
function facts(node, several) {
  return [
    ...(node.draining ? [{ name: "Draining: no new calls", is: /** @type {const} */ ("bad") }] : []),
    recorder(node.recorder),
    ...(node.store ? [index(node.store)] : []),
    ...(node.store?.upload ? [upload(node.store.upload)] : []),
    { name: several ? `${node.id}, ${node.version}` : `relay ${node.version}`, is: "plain", detail: node.id },
  ];
}

/** @returns {Fact} */
function recorder(told) {
  if (!told) return { name: "Not recording", is: "off", detail: "recording.mode is off" };
  if (told.failing) return { name: `Recorder: ${told.failing}`, is: "bad" };
  if (!told.healthy) return { name: `Recorder is ${Math.round(told.behind_s)} s behind`, is: "bad" };
  const { packets = 0, events = 0 } = told.lost ?? {};
  if (packets || events) return { name: `Recorder lost ${packets} packets, ${events} events`, is: "bad", detail: "since the relay was started" };
  return { name: "Recorder", is: "good", detail: "writes everything" };
}

/** @returns {Fact} */
function index(store) {
  if (store.failing) return { name: `Index: ${store.failing}`, is: "bad" };
  if (store.waiting) return { name: `Index: ${store.waiting} waiting`, is: "good" };
  return { name: "Index", is: "good", detail: "knows all that is stored" };
}

/** @returns {Fact} */
function upload(told) {
  if (told.failing) return { name: `Upload: ${told.failing}`, is: "bad" };
  return { name: told.waiting ? `Upload: ${told.waiting} waiting` : "Upload", is: "good" };
}
