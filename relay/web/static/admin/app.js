/** The frame: which view is shown, light or dark, and the sign-in where the server asks for one. */

import { del, get, session } from "./api.js";
import { h, say } from "./dom.js";
import { failure } from "./parts.js";
import { signIn } from "./sign-in.js";

/** Views export `mount(root, params) → unmount()`. @type {Record<string, () => Promise<any>>} */
const VIEWS = {
  live: () => import("./live.js"),
  sessions: () => import("./search.js"),
  call: () => import("./call/page.js"),
  usage: () => import("./usage.js"),
};
const TITLES = { live: "Live calls", sessions: "Calls", call: "Call", usage: "Usage" };

const root = /** @type {HTMLElement} */ (document.getElementById("view"));
const signOut = /** @type {HTMLButtonElement} */ (document.getElementById("sign-out"));
let unmount = () => {};
let latest = 0; // a view that is loaded late must not be put over a newer one

/** @returns {{view: string, params: Record<string, string>}} where `#/…` leads */
export function route(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const params = Object.fromEntries(new URLSearchParams(query));
  const [name, id] = path.split("/").map(decoded);
  if (name === "sessions" && id) return { view: "call", params: { ...params, id } };
  return { view: Object.hasOwn(VIEWS, name) && name !== "call" ? name : "live", params };
}

/** @param {string} part of an address, which anybody may have typed */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function show() {
  const mine = ++latest;
  const { view, params } = route();
  leave();
  mark(view);
  document.title = `${TITLES[view]} · relay`;
  try {
    const module = await VIEWS[view]();
    if (mine !== latest) return;
    const left = await module.mount(root, params);
    if (mine === latest) unmount = left;
    else left();
  } catch (error) {
    if (mine === latest) root.replaceChildren(failure(error, show));
  }
}

function leave() {
  unmount();
  unmount = () => {};
  root.replaceChildren();
  root.className = "view";
}

/** @param {string} view */
function mark(view) {
  for (const link of document.querySelectorAll("#nav a")) {
    const current = link.dataset.view === (view === "call" ? "sessions" : view);
    current ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
}

// -- the sign-in

function askForToken() {
  if (root.querySelector("#sign-in")) return;
  latest++;
  leave();
  signOut.hidden = true;
  document.body.classList.add("signed-out");
  document.title = "Sign in · relay";
  signIn(root, () => {
    document.body.classList.remove("signed-out");
    signOut.hidden = false;
    localStorage.setItem("relay.signed-in", "1"); // the cookie itself is not for scripts
    root.focus();
    show();
  });
}

session.addEventListener("signed-out", askForToken);

signOut.addEventListener("click", async () => {
  await del("login").catch(() => {});
  localStorage.removeItem("relay.signed-in");
  askForToken();
});

// -- light and dark

const themeButton = /** @type {HTMLButtonElement} */ (document.getElementById("theme"));
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : systemIsDark.matches;
}

function nameTheme() {
  const label = isDark() ? "Light colours" : "Dark colours";
  themeButton.setAttribute("aria-label", label);
  themeButton.title = label;
  document.dispatchEvent(new Event("themechange")); // for what is drawn on a canvas
}

themeButton.addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("relay.theme", theme);
  nameTheme();
});
systemIsDark.addEventListener("change", nameTheme);

// -- keyboard

document.getElementById("skip")?.addEventListener("click", (event) => {
  event.preventDefault(); // the hash is the router's
  root.focus();
});

addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const field = document.getElementById("search");
  if (field) field.focus();
  else location.hash = "#/sessions?focus=search";
});

addEventListener("hashchange", async () => {
  if (!location.hash.startsWith("#/")) return;
  await show();
  scrollTo(0, 0);
  say(TITLES[route().view]);
});

nameTheme();
signOut.hidden = !localStorage.getItem("relay.signed-in");
get("nodes").then(show, (error) => error.status !== 401 && show());
