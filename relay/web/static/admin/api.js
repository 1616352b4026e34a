/** The operator's API (docs/http-api.md), as the views use it. Requests carry the cookie of the sign-in. */

const ROOT = new URL("v1/", document.baseURI);
const TIMEOUT_MS = 20_000;

/** Tells `signed-out` when a request was refused for want of a token. */
export const session = new EventTarget();

/** What the server refused, or (`status` 0) that it cannot be reached. `message` is fit to be shown. */
export class ApiError extends Error {
  name = "ApiError";

  /** @param {number} status @param {string} code @param {string} message @param {number | null} [retryAfterS] */
  constructor(status, code, message, retryAfterS = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * @param {string} path below /admin/v1, its parts already escaped
 * @param {Record<string, string | number | null | undefined>} [query] what is empty is left out
 * @returns {string} for fetch, `<audio>` and links
 */
export function url(path, query = {}) {
  const found = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") found.searchParams.set(name, String(value));
  }
  return found.href;
}

/** @param {string} path @param {Record<string, any>} [query] @param {RequestInit} [options] @returns {Promise<any>} */
export function get(path, query, options) {
  return ask(url(path, query), options);
}

/** @param {string} path @param {any} body an object goes as JSON @param {string} [contentType] @returns {Promise<any>} */
export function post(path, body, contentType = "application/json") {
  const sent = typeof body === "string" || body === undefined ? body : JSON.stringify(body);
  return ask(url(path), { method: "POST", body: sent, headers: { "Content-Type": contentType } });
}

/** @param {string} path @returns {Promise<any>} */
export function del(path) {
  return ask(url(path), { method: "DELETE" });
}

/**
 * The response itself, for who needs its headers. Throws ApiError.
 * @param {string} address @param {RequestInit} [options] @returns {Promise<Response>}
 */
export async function request(address, options = {}) {
  const signals = [AbortSignal.timeout(TIMEOUT_MS), options.signal].filter((signal) => signal != null);
  let response;
  try {
    response = await fetch(address, { ...options, signal: AbortSignal.any(signals) });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "The relay does not answer. Is it running?");
  }
  if (response.ok) return response;
  throw await refusal(response);
}

/** @param {string} address @param {RequestInit} [options] */
async function ask(address, options) {
  const response = await request(address, options);
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
  return isJson ? response.json() : response.text();
}

/** @param {Response} response */
async function refusal(response) {
  const body = await response.json().catch(() => null);
  const { code = "error", message = `The relay answered ${response.status}.` } = body?.error ?? {};
  const wait = Number(response.headers.get("Retry-After"));
  if (response.status === 401) session.dispatchEvent(new Event("signed-out"));
  const error = new ApiError(response.status, code, message, wait > 0 ? wait : null);
  error.body = body; // a deletion that failed says in it what remains
  return error;
}

/**
 * An event stream. It reconnects by itself while the server lets it; `closed` is called once it will not any more
 * (the stream has ended, or was refused), `open` each time it is connected.
 *
 * @param {string} path
 * @param {Record<string, (data: any, id: string) => void>} handlers by the event's name; they get its data, parsed
 * @returns {() => void} closes it
 */
export function events(path, { open, closed, ...handlers }) {
  const source = new EventSource(url(path));
  for (const [name, handle] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => handle(JSON.parse(event.data), event.lastEventId));
  }
  if (open) source.addEventListener("open", () => open(null, ""));
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    get("nodes").catch(() => {}); // EventSource does not tell why; a 401 shows the sign-in
    closed?.(null, "");
  });
  return () => source.close();
}
