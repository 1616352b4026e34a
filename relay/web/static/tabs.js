/** Tabs as the ARIA practices describe them: arrows move, the selected tab alone is in the tab order. */

/** @param {HTMLElement} list with role="tablist" @returns {{select(id: string): void, touched: boolean}} */
export function makeTabs(list) {
  const tabs = /** @type {HTMLElement[]} */ ([...list.querySelectorAll('[role="tab"]')]);
  const control = { touched: false, select };

  /** @param {string} id */
  function select(id) {
    for (const tab of tabs) {
      const selected = tab.id === id;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      const panel = document.getElementById(tab.getAttribute("aria-controls") ?? "");
      if (panel) panel.hidden = !selected;
    }
  }

  /** @param {HTMLElement} tab */
  function choose(tab) {
    control.touched = true;
    select(tab.id);
    tab.focus();
  }

  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -index, End: tabs.length - 1 - index }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      choose(tabs[(index + step + tabs.length) % tabs.length]);
    });
  }
  return control;
}
