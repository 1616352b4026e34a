/** Panels of which one is shown (WAI-ARIA's tabs): arrow keys move between them. */

import { h } from "../dom.js";

let number = 0;

export class Tabs {
  /** @type {{tab: HTMLButtonElement, panel: HTMLElement, shown: () => void}[]} */ #all;
  element;

  /** @param {string} label @param {[string, HTMLElement, (() => void)?][]} panels name, content, what is done when it is shown */
  constructor(label, panels) {
    number += 1;
    this.#all = panels.map(([name, content, shown = () => {}], at) =>
      this.#make(name, content, shown, `tab-${number}-${at}`),
    );
    const bar = h(
      "div",
      {
        class: "tabs",
        role: "tablist",
        "aria-label": label,
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event),
      },
      this.#all.map(({ tab }) => tab),
    );
    this.element = h(
      "section",
      { class: "sheet side-panel", "aria-label": label },
      bar,
      this.#all.map(({ panel }) => panel),
    );
    this.#show(0);
  }

  /** @param {string} name @param {HTMLElement} content @param {() => void} shown @param {string} id */
  #make(name, content, shown, id) {
    const tab = h(
      "button",
      {
        type: "button",
        role: "tab",
        id,
        "aria-controls": `${id}-panel`,
        onclick: () => this.#show(this.#all.findIndex((one) => one.tab === tab)),
      },
      name,
    );
    const panel = h("div", { role: "tabpanel", id: `${id}-panel`, "aria-labelledby": id, class: "tab-panel" }, content);
    return { tab, panel, shown };
  }

  /** @param {HTMLElement} content @returns {boolean} whether it is to be seen */
  shows(content) {
    return this.#all.some(({ panel }) => !panel.hidden && panel.contains(content));
  }

  /** @param {number} at */
  #show(at) {
    for (const [index, { tab, panel }] of this.#all.entries()) {
      tab.setAttribute("aria-selected", String(index === at));
      tab.tabIndex = index === at ? 0 : -1;
      panel.hidden = index !== at;
    }
    this.#all[at].shown();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const here = this.#all.findIndex(({ tab }) => tab === document.activeElement);
    const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: this.#all.length - 1 }[event.key];
    if (here < 0 || to === undefined || !this.#all[to]) return;
    event.preventDefault();
    this.#show(to);
    this.#all[to].tab.focus();
  }
}
