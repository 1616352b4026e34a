/** Instead of the player, while a call runs: how loud both sides are. */

import { h } from "../dom.js";
import { levels, Meter } from "../levels.js";

export class LiveDeck {
  #close;
  element;

  /** @param {string} id */
  constructor(id) {
    const meters = {
      client: new Meter("client", "Level of the client"),
      upstream: new Meter("upstream", "Level of the upstream"),
    };
    this.element = h(
      "section",
      { class: "sheet deck running", "aria-label": "Levels" },
      h("div", { class: "side you" }, h("b", null, "Client"), meters.client.element),
      h("div", { class: "side them" }, h("b", null, "Upstream"), meters.upstream.element),
    );
    this.#close = levels((calls) => {
      meters.client.show(calls[id]?.client);
      meters.upstream.show(calls[id]?.upstream);
    });
  }

  destroy() {
    this.#close();
  }
}
