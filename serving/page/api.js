// The service's endpoints, asked relative to the page, so that it works behind a path prefix.

const TRIES = 3; // of a service that is busy or not ready yet
const KEPT = 200; // durations kept of each endpoint

let token = null; // in memory only
let askForToken = null;
let asking = null; // the one question for a token that all calls wait for

export const durations = new Map(); // "POST predict" -> milliseconds, the newest last

/** An answer other than 200: {error, code, detail}, as serving/errors.py writes it. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body?.error ?? `the service answered ${status}`);
    this.status = status;
    this.code = body?.code ?? "failed";
    this.detail = body?.detail ?? [];
  }
}

/** ask(refused: bool) -> Promise<string>: how a token is got when the service demands one. */
export function onTokenDemanded(ask) {
  askForToken = ask;
}

export const getModel = () => call("GET", "model");
export const getSamples = () => call("GET", "samples");
export const predict = (values) => call("POST", "predict", { customers: [values] });
export const explain = (values, top) =>
  call("POST", `explain?top=${top}`, { customers: [values] });
export const predictTransactions = (asOf, customer) =>
  call("POST", "predict_transactions?features=true", { as_of: asOf, customers: [customer] });

export const holdsToken = () => token !== null;

/** In a tab of its own, what a link would ask for without the token. */
export async function openTab(path) {
  const tab = window.open("", "_blank"); // at once: later it would be an unasked-for window
  try {
    const url = URL.createObjectURL(await (await send("GET", path)).blob());
    tab.location = url;
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    tab.close();
    throw error;
  }
}

/** {ready, why}: never raises. */
export async function getReady() {
  try {
    const response = await fetch("readyz", { cache: "no-store", headers: authorization() });
    const body = response.ok ? null : await response.json().catch(() => null);
    return { ready: response.ok, why: body?.error ?? `it answered ${response.status}` };
  } catch {
    return { ready: false, why: "it cannot be reached" };
  }
}

async function call(method, path, content) {
  for (let tried = 1; ; ) {
    const used = token;
    const response = await send(method, path, content);
    if (response.ok) return response.json();
    const refusal = new Refusal(response.status, await response.json().catch(() => null));
    if (refusal.status === 401 && askForToken) {
      await newToken(used);
    } else if ((refusal.status === 429 || refusal.status === 503) && tried < TRIES) {
      tried += 1;
      const seconds = Number(response.headers.get("retry-after")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    } else {
      throw refusal;
    }
  }
}

async function send(method, path, content) {
  const headers = authorization();
  if (content !== undefined) headers["Content-Type"] = "application/json";
  const body = content === undefined ? undefined : JSON.stringify(content);
  const began = performance.now();
  let response;
  try {
    response = await fetch(path, { method, headers, body, cache: "no-store" });
  } catch {
    throw new Refusal(0, { error: "the service cannot be reached", code: "unreachable" });
  }
  remember(`${method} ${path.split("?")[0]}`, performance.now() - began);
  return response;
}

/** Waits for a token, unless another call got one since `used` was sent. */
async function newToken(used) {
  if (token !== used) return;
  asking ??= askForToken(used !== null).finally(() => (asking = null));
  token = await asking;
}

function authorization() {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

function remember(name, milliseconds) {
  const known = durations.get(name) ?? [];
  known.push(milliseconds);
  durations.delete(name); // the newest call comes last in the map
  durations.set(name, known.slice(-KEPT));
}
