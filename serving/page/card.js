// What is served: the facts at the top of the page, the model card, the state of the service.

import { durations } from "./api.js";
import { el, facts, many, number, range, scrolling, shown, time } from "./words.js";

const METRICS = {
  roc_auc: ["ROC AUC", "chance that a positive ranks above a negative"],
  average_precision: ["average precision", "area under precision over recall"],
  log_loss: ["log loss", "lower is better"],
  recalibrated_log_loss: ["recalibrated log loss", "what is left of it once the level is right"],
  brier: ["Brier score", "mean squared error, lower is better"],
  calibration_error: ["calibration error", "mean distance of predicted from observed shares"],
  lift_top_decile: ["lift of the top tenth", "share of positives there, over that among all"],
};
const SHORT_SHA = 12;

export function headFacts(model) {
  return facts([
    ["model family", model.family],
    ["trained", model.trained_at && time(model.trained_at)],
    model.threshold === null
      ? ["decision", "none: trained without costs"]
      : ["contact from a probability of", number(model.threshold)],
    ["at most, in one request", limits(model)],
  ]);
}

function limits({ limits, transactions }) {
  const lines = transactions ? { max_lines: "invoice lines" } : {};
  const words = { max_rows: "customers", ...lines, max_explained: "explained" };
  const known = Object.entries(words).filter(([name]) => limits?.[name] !== undefined);
  return known.map(([name, word]) => `${number(limits[name])} ${word}`).join(", ");
}

export function modelCard(model) {
  const dates = (split) => model.as_of?.[split]?.join(", ");
  return [
    el("dl", {}, facts([
      ["probability", `${model.outcome}`],
      ["calibration", model.calibration],
      ["settings", model.config],
      ["seed", model.seed],
      ["learnt from the as-of dates", dates("train")],
      ["validated on", dates("valid")],
      ["tested on", dates("test")],
      ["the log begins", model.transactions?.log_start],
      ["bundle SHA-256", hash(model.bundle_sha256)],
      ["data SHA-256", hash(model.data_sha256)],
      ["code revision", hash(model.code_revision)],
    ])),
    figures(model),
    featureTable(model.features),
    pairs("Parameters", model.params),
    pairs("Versions", model.versions),
  ];
}

/** A hash: its beginning, all of it on hovering, and a button that copies it. */
function hash(text) {
  if (!text) return null;
  const short = el("code", { title: text }, text.slice(0, SHORT_SHA));
  if (text.length <= SHORT_SHA) return short;
  if (!navigator.clipboard) return el("code", {}, text); // only there on loopback and over HTTPS
  const attributes = { type: "button", class: "copy", "aria-label": `copy ${text}` };
  const button = el("button", attributes, "copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
  return el("span", {}, short, " ", button);
}

function figures({ test, valid }) {
  const names = Object.keys({ ...test, ...valid }).filter((name) => !/_(low|high)$/.test(name));
  if (!names.length) return el("p", { class: "note" }, "The bundle holds no figures.");
  const rows = names.map((name) => {
    const [title, what] = METRICS[name] ?? [name, null];
    const low = test?.[`${name}_low`], high = test?.[`${name}_high`];
    return el("tr", {}, el("th", { scope: "row" }, title, what && el("small", {}, what)),
      el("td", { class: "number" }, figure(test?.[name]),
        low === undefined ? null : el("small", {}, `${figure(low)} to ${figure(high)}`)),
      el("td", { class: "number" }, figure(valid?.[name])));
  });
  const head = el("tr", {}, el("th", { scope: "col" }, "figure"),
    el("th", { scope: "col", class: "number" }, "test"),
    el("th", { scope: "col", class: "number" }, "validation"));
  return scrolling("figures", el("table", {},
    el("caption", {}, "On the test rows, looked at once, with 95 % intervals; and on the validation"
      + " rows, by which the model was chosen"),
    el("thead", {}, head), el("tbody", {}, rows)));
}

function figure(value) {
  return typeof value === "number" ? value.toFixed(3) : "–";
}

function featureTable(features) {
  const names = ["feature", "unit", "range", "may be missing"];
  const head = names.map((name) => el("th", { scope: "col" }, name));
  const rows = features.map((one) => el("tr", {},
    el("th", { scope: "row", class: "wrap" },
      el("code", {}, one.name), el("small", {}, one.meaning)),
    el("td", {}, one.unit), el("td", { class: "wrap" }, range(one)),
    el("td", {}, one.missing || "no")));
  const title = `${many(features.length, "feature")}: units, meanings, ranges`;
  const table = el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
  return el("details", { id: "features" }, el("summary", {}, title), scrolling("features", table));
}

function pairs(title, values) {
  const known = Object.entries(values ?? {});
  if (!known.length) return null;
  const text = (value) => (Object(value) === value ? JSON.stringify(value) : shown(value));
  const rows = known.map(([name, value]) => el("tr", {},
    el("th", { scope: "row", class: "wrap" }, el("code", {}, name)),
    el("td", { class: "wrap" }, text(value))));
  return el("details", {}, el("summary", {}, title),
    scrolling(title, el("table", {}, el("tbody", {}, rows))));
}

/** The state of the service, and how long its answers took, as this page measured them. */
export function healthPanel(model, state) {
  const served = model && `${model.name}, version ${model.version}`;
  const rows = [...durations].reverse().map(([name, taken]) => el("tr", {},
    el("th", { scope: "row" }, el("code", {}, name)),
    el("td", { class: "number" }, milliseconds(taken.at(-1))),
    el("td", { class: "number" }, milliseconds(median(taken))),
    el("td", { class: "number" }, String(taken.length))));
  const head = ["call", "last", "median", "calls"].map((name, place) =>
    el("th", { scope: "col", class: place ? "number" : null }, name));
  return [
    el("dl", {}, facts([
      ["state", state.ready ? "ready" : `not ready: ${state.why}`],
      ["served", served],
      ["loaded", model?.loaded_at && time(model.loaded_at)],
      ["looked at", time(new Date().toISOString())],
    ])),
    // No region to scroll, and so to focus, in what is drawn anew every other second.
    el("table", {},
      el("caption", {}, "Milliseconds from sending to the head of the answer, in this browser"),
      el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)),
  ];
}

function milliseconds(value) {
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
