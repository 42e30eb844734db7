// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the page asks of the daemon, and how.

export const TOKEN = "bhojpur-token";
let unauthorized = () => {};

/** Sets what is done when the daemon wants a token, or another one. */
export function onUnauthorized(tell) {
  unauthorized = tell;
}

export class Failure extends Error {
  constructor(message, advice, code) {
    super(message);
    this.advice = advice;
    this.code = code;
  }
}

export async function request(method, path, { body, signal } = {}) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(`v1${path}`, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The daemon does not answer.", "Start it: kernctl daemon");
  }
  if (response.ok) return response;
  let told = {};
  try {
    told = await response.json();
  } catch {
    // Not from the daemon, or cut off: the status has to do.
  }
  const failure = new Failure(told.message ?? `The daemon answered ${response.status}.`, told.advice, told.code);
  if (response.status === 401) unauthorized(token ? failure.message : "");
  throw failure;
}

export const read = async (path) => (await request("GET", path)).json();
export const at = (kind, id, rest = "") => `/${kind}/${encodeURIComponent(id)}${rest}`;

/** Server-sent events by fetch, because EventSource sends no Authorization. */
export async function listen(path, signal, tell, opened = () => {}) {
  const response = await request("GET", path, { signal });
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    pending += value.replaceAll("\r", "");
    for (let end; (end = pending.indexOf("\n\n")) >= 0; ) {
      const block = pending.slice(0, end);
      pending = pending.slice(end + 2);
      const event = { type: "message", data: [] };
      for (const line of block.split("\n")) {
        const [, field, text] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
        if (field === "data") event.data.push(text);
        else if (field === "id") event.id = text;
        else if (field === "event") event.type = text;
      }
      if (!event.data.length) continue;
      const value = JSON.parse(event.data.join("\n"));
      if (event.type === "error") throw new Failure(value.message, value.advice, value.code);
      tell(value, event.id);
    }
  }
}

export const pause = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});
