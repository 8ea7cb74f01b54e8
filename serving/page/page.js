// The page: what is asked when, and where the answers go.

import * as api from "./api.js";
import { difference, movers, probabilityPanel } from "./answer.js";
import { headFacts, healthPanel, modelCard } from "./card.js";
import { buildForm } from "./form.js";
import { invoices, leftOutInWords, orderTable } from "./orders.js";
import { timeline } from "./timeline.js";
import { el, many, probability } from "./words.js";

const WATCH_SECONDS = 3; // how often the served version is looked up
const PAUSE_MS = 250; // after the last keystroke, before the service is asked
const TOP = 8; // contributions shown, and fields that stand open

const $ = (id) => document.getElementById(id);
const BLANK = { name: "empty form", values: null };

let model = null;
let samples = [];
let state = { ready: false, why: "not asked yet" };
let chosen = null; // the sample that is looked at
let first = null; // the prediction for it as it is
let form = null;
let turn = 0; // of questions: an answer to an older one is dropped

async function begin() {
  api.onTokenDemanded(tokenFromPerson);
  $("reset").addEventListener("click", () => (form.reset(), ask(0)));
  $("values").addEventListener("submit", (event) => (event.preventDefault(), ask(0)));
  for (;;) {
    try {
      await look();
    } catch (error) {
      showState({ ready: false, why: error.message });
      if (!(error instanceof api.Refusal)) console.error(error);
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * WATCH_SECONDS));
  }
}

/** Is it ready, and does it still serve what this page shows? */
async function look() {
  if (document.hidden && model) return;
  showState(await api.getReady());
  const served = await api.getModel();
  if (served.bundle_sha256 !== model?.bundle_sha256 || served.version !== model?.version)
    await takeUp(served);
  $("service").replaceChildren(...healthPanel(model, state));
}

/** Show a model; if it took over from another, say so and ask again. */
async function takeUp(served) {
  const before = model;
  model = served;
  showModel();
  if (before) {
    const now = new Date().toTimeString().slice(0, 5);
    $("news").textContent = `Since ${now}, version ${model.version} is served (before: version`
      + ` ${before.version}). What stands here was asked again.`;
  }
  if (before && sameQuestions(before, model)) {
    await lookAt(chosen, form?.edits() ?? []);
  } else {
    samples = (await api.getSamples()).samples;
    showSamples();
    await lookAt(samples[0] ?? BLANK);
  }
}

/** Whether the samples at hand can be asked of the new model too. */
function sameQuestions(a, b) {
  const asked = ({ name, features, transactions }) =>
    JSON.stringify([name, features, transactions?.declared]);
  return asked(a) === asked(b);
}

/** Ask about a sample as it is; with edits, then as it was changed. */
async function lookAt(sample, edits = []) {
  chosen = sample;
  const mine = ++turn;
  first = null;
  showProblem(null);
  try {
    const { values, prediction, leftOut } = await predicted(sample);
    if (mine !== turn) return;
    showOrders(sample, leftOut);
    if (!prediction) return showEmptyForm(edits);
    first = prediction;
    showAnswer(prediction);
    fill(values, [], edits);
    const names = await showMovers(sent(values), mine);
    if (mine !== turn || form.edits().length) return edits.length ? ask(0) : undefined;
    if (!$("values").contains(document.activeElement)) fill(values, names, edits);
    if (edits.length) await ask(0);
  } catch (error) {
    if (mine === turn) refused(error);
  }
}

/** {values, prediction, leftOut} of a sample; no prediction for the empty form. */
async function predicted(sample) {
  if (sample.lines) {
    const customer = { customer_id: sample.name, lines: sample.lines };
    const answer = await api.predictTransactions(sample.as_of, customer);
    const [prediction] = answer.predictions;
    return { values: prediction.features, prediction, leftOut: answer.left_out ?? [] };
  }
  if (!sample.values) return { values: null, prediction: null, leftOut: [] };
  const answer = await api.predict(sent(sample.values));
  return { values: sample.values, prediction: answer.predictions[0], leftOut: [] };
}

function sent(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
}

/** Ask about the values of the form, once nothing was typed for a moment. */
async function ask(pause = PAUSE_MS) {
  const mine = ++turn;
  await new Promise((resolve) => setTimeout(resolve, pause));
  if (mine !== turn) return;
  const lacking = chosen.values === null && form.lacking();
  if (lacking) return showLacking(lacking);
  const unreadable = form.unreadable();
  if (unreadable.length) return refused(new api.Refusal(0, { error: "", detail: unreadable }));
  try {
    const values = form.values();
    const [prediction] = (await api.predict(values)).predictions;
    if (mine !== turn) return;
    showProblem(null);
    first ??= prediction;
    showAnswer(prediction);
    await showMovers(values, mine);
  } catch (error) {
    if (mine === turn) refused(error);
  }
}

function fill(values, names, edits) {
  form = buildForm($("values"), model.features, values, names, () => ask());
  form.apply(edits);
  $("reset").disabled = !form.edits().length;
}

function showEmptyForm(edits) {
  fill(null, model.features.map((one) => one.name), edits);
  showLacking(form.lacking());
}

function showLacking(lacking) {
  $("difference").textContent = `${many(lacking, "value")} may not be missing: fill them in, and it is asked.`;
  $("probability").replaceChildren(el("p", { class: "note" }, "Nothing was asked yet."));
  $("movers").replaceChildren();
  $("reset").disabled = !form.edits().length;
}

function showAnswer(prediction) {
  const changed = form !== null && form.edits().length > 0 && prediction !== first;
  $("probability").replaceChildren(...probabilityPanel(prediction, changed ? first : null, model));
  $("difference").textContent = changed ? difference(prediction, first)
    : `${probability(first.probability)}: nothing is changed yet.`;
  $("reset").disabled = !changed;
}

/** The contributions; returns the features' names, the most moving first. */
async function showMovers(values, mine) {
  try {
    const said = await api.explain(values, Math.min(TOP, model.features.length));
    if (mine !== turn) return [];
    const [explanation] = said.explanations;
    $("movers").replaceChildren(...movers(explanation, said.method, model.features));
    return explanation.contributions.map((one) => one.feature);
  } catch (error) {
    if (mine === turn)
      $("movers").replaceChildren(el("p", { class: "note" }, `Not explained: ${error.message}`));
    return model.features.slice(0, TOP).map((one) => one.name);
  }
}

/** A refusal: beside the fields that it names, the others above them. */
function refused(error) {
  if (!(error instanceof api.Refusal)) console.error(error);
  const others = form ? form.refuse(error.detail ?? []) : [];
  const placed = (error.detail?.length ?? 0) > others.length;
  showProblem(placed ? others.map((one) => one.what).join("; ") : error.message);
  $("probability").replaceChildren(el("p", { class: "figure" }, el("span", { class: "big soft" }, "–")),
    el("p", { class: "note" }, "No answer for these values."));
  $("movers").replaceChildren(el("p", { class: "note" }, "No answer, so nothing moved it."));
  $("difference").textContent = placed ? "Refused: see the field that is marked." : "Refused.";
  $("reset").disabled = !form?.edits().length;
}

function showProblem(words) {
  if (words === null) form?.refuse([]);
  $("problem").textContent = words ?? "";
}

function showModel() {
  document.title = `${model.name}, version ${model.version}`;
  $("name").textContent = model.name;
  $("version").textContent = `version ${model.version}`;
  $("version").hidden = false;
  $("question").textContent = `The probability ${model.outcome}.`;
  $("answer-of").textContent = `${model.outcome}, as version ${model.version} says.`;
  $("facts").replaceChildren(...headFacts(model));
  $("card").replaceChildren(...modelCard(model).filter(Boolean));
  $("content").hidden = false;
}

function showState(now) {
  state = now;
  $("state").textContent = state.ready ? "ready" : "not ready";
  $("state").className = `tag state ${state.ready ? "good" : "bad"}`;
  $("state").title = state.ready ? "" : state.why;
  if (!model && !state.ready) $("question").textContent = `Nothing is served yet: ${state.why}.`;
}

function showSamples() {
  const cards = [...samples, BLANK].map((sample, place) => {
    const input = el("input", { type: "radio", name: "sample", checked: place === 0 });
    input.addEventListener("change", () => lookAt(sample));
    const facts = sample.lines ? `${many(sample.lines.length, "line")}, ${sample.as_of}`
      : sample.values ? many(Object.keys(sent(sample.values)).length, "value") : "every value by hand";
    return el("label", { class: "card" }, input, el("span", {}, sample.name, el("small", {}, facts)));
  });
  $("samples").replaceChildren(...cards);
  $("customer-lead").textContent = samples.length
    ? "Samples from the rows that the model was validated on. They carry no identifiers."
    : "This bundle brings no samples along: fill in the form.";
}

function showOrders(sample, leftOut) {
  if (!sample.lines) return $("orders").replaceChildren();
  const list = invoices(sample.lines, leftOut, model.transactions);
  const horizon = model.transactions?.features?.horizon_days ?? model.question?.horizon_days ?? 0;
  const note = leftOutInWords(leftOut, sample.lines.length);
  $("orders").replaceChildren(timeline(list, sample.as_of, horizon),
    ...(note ? [el("p", { class: "note", id: "left-out" }, note)] : []), orderTable(list));
}

/** Shows the small form, and resolves once a token was typed in. */
function tokenFromPerson(refusedBefore) {
  const entry = $("token-field");
  $("token").hidden = false;
  $("content").hidden = true;
  $("token-problem").textContent = refusedBefore ? "This token was not accepted." : "";
  entry.value = "";
  entry.focus();
  return new Promise((resolve) => {
    $("token").querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      $("token").hidden = true;
      $("content").hidden = !model;
      resolve(entry.value);
    }, { once: true });
  });
}

begin();
