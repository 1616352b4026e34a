/* Light or dark, before anything is drawn: a plain script, so that no page flashes in the other one. */
(() => {
  const kept = localStorage.getItem("relay.theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
