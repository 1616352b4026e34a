/** The sign-in: the operator's token, once; the server answers with a cookie that no script sees. */

import { post } from "./api.js";
import { h } from "./dom.js";

/**
 * Shows the form in `root`.
 * @param {HTMLElement} root @param {() => void} done called once signed in
 */
export function signIn(root, done) {
  const token = h("input", {
    id: "token",
    type: "password",
    autocomplete: "current-password",
    spellcheck: "false",
    required: true,
    "aria-describedby": "sign-in-problem sign-in-hint",
  });
  const problem = h("p", { id: "sign-in-problem", class: "problem", role: "alert" });
  const button = h("button", { class: "primary" }, "Sign in");
  const form = h(
    "form",
    { id: "sign-in", class: "sheet sign-in", onsubmit: submit },
    h("h1", null, "Sign in"),
    h("label", { for: "token" }, "Operator’s token"),
    h("input", { type: "text", autocomplete: "username", value: "operator", hidden: true }), // for password managers
    token,
    problem,
    button,
    h("p", { id: "sign-in-hint", class: "hint" }, "It is ", h("code", null, "admin.token"),
      " of this relay’s settings. You stay signed in for 12 hours."),
  );

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      await post("login", { token: token.value });
      done();
    } catch (error) {
      problem.textContent = why(error);
      token.select();
      token.focus();
    } finally {
      button.disabled = false;
    }
  }

  root.replaceChildren(form);
  token.focus();
}

/** @param {any} error @returns {string} */
function why(error) {
  if (error.status === 401) return "That is not this relay’s token.";
  if (error.status === 429) return `Too many tries. Try again in ${error.retryAfterS ?? 60} s.`;
  return error.message;
}
