// The page: what is asked when, and where the answers go.

import * as api from "./api.js";
import { difference, movers, probabilityPanel } from "./answer.js";
import { headFacts, healthPanel, modelCard } from "./card.js";
import { BLANK, known, orders, sampleCards } from "./customer.js";
import { buildForm } from "./form.js";
import { tokenFromPerson } from "./token.js";
import { el, many, probability } from "./words.js";

const WATCH_SECONDS = 2; // how often the served version is looked up
const PAUSE_MS = 250; // after the last keystroke, before the service is asked
const TOP = 8; // contributions shown, and fields that stand open

const $ = (id) => document.getElementById(id);

let model = null;
let state = { ready: false, why: "not asked yet" };
let chosen = null; // the sample that is looked at
let first = null; // the prediction for it as it is
let form = null;
let filledWith = ""; // the values that the form began with
let turn = 0; // of questions: an answer to an older one is dropped

async function begin() {
  api.onTokenDemanded(tokenFromPerson);
  $("reset").addEventListener("click", () => (form.reset(), ask(0)));
  $("values").addEventListener("submit", (event) => (event.preventDefault(), ask(0)));
  for (const link of document.querySelectorAll("a.data")) {
    link.addEventListener("click", (event) => {
      if (!api.holdsToken()) return;
      event.preventDefault();
      api.openTab(link.getAttribute("href")).catch(refused);
    });
  }
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
  const state = await api.getReady();
  showState(state);
  const served = await api.getModel();
  if (served.bundle_sha256 !== model?.bundle_sha256 || served.version !== model?.version)
    await takeUp(served);
  showState(state); // with how long all of it took
}

/** Show a model; if it took over from another, say so and ask again. */
async function takeUp(served) {
  const before = model;
  const same = before !== null && sameQuestions(before, served);
  const samples = same ? null : (await api.getSamples()).samples;
  model = served;
  showModel();
  if (before) {
    const now = new Date().toTimeString().slice(0, 5);
    $("news").textContent = `Since ${now}, version ${model.version} is served (before: version`
      + ` ${before.version}). The values below were sent again.`;
  }
  if (same) return lookAt(chosen, true);
  $("samples").replaceChildren(...sampleCards(samples, lookAt));
  $("customer-lead").textContent = samples.length
    ? "Customers of the test rows, kept in the bundle without their identifiers."
    : "This bundle has no samples: fill in the form.";
  return lookAt(samples[0] ?? BLANK);
}

/** Whether a request that fits one model fits the other. */
function sameQuestions(a, b) {
  const inputs = ({ name, features, transactions }) =>
    JSON.stringify([name, features, transactions?.declared]);
  return inputs(a) === inputs(b);
}

/** Ask about a sample as it is. again: another model took over, and what was changed stays. */
async function lookAt(sample, again = false) {
  chosen = sample;
  first = null;
  const mine = ++turn;
  try {
    const { values, prediction, leftOut } = await predicted(sample);
    if (mine !== turn) return;
    $("orders").replaceChildren(...orders(sample, leftOut, model));
    const stays = again && form !== null && JSON.stringify(values) === filledWith;
    if (!stays) fill(values, model.features.slice(0, values ? TOP : undefined), again);
    clearProblems();
    if (!prediction) return ask(0);
    first = prediction;
    showAnswer(prediction, false);
    const top = await showMovers(known(values), mine);
    if (mine !== turn) return;
    if (!stays && !$("values").contains(document.activeElement)) fill(values, top, true);
    if (form.edits().length) await ask(0);
  } catch (error) {
    if (mine !== turn) return;
    $("orders").replaceChildren(...orders(sample, [], model));
    form = null;
    $("values").replaceChildren();
    refused(error);
  }
}

/** {values, prediction, leftOut} of a sample; neither values nor prediction for the empty form. */
async function predicted(sample) {
  if (sample.lines) {
    const customer = { customer_id: sample.name, lines: sample.lines };
    const answer = await api.predictTransactions(sample.as_of, customer);
    const [prediction] = answer.predictions;
    return { values: prediction.features, prediction, leftOut: answer.left_out ?? [] };
  }
  if (!sample.values) return { values: null, prediction: null, leftOut: [] };
  const [prediction] = (await api.predict(known(sample.values))).predictions;
  return { values: sample.values, prediction, leftOut: [] };
}

/** Ask about the values of the form, once nothing was typed for a moment. */
async function ask(pause = PAUSE_MS) {
  const mine = ++turn;
  await new Promise((resolve) => setTimeout(resolve, pause));
  if (mine !== turn) return;
  const lacking = first === null ? form.lacking() : 0;
  if (lacking) return showLacking(lacking);
  try {
    const unreadable = form.unreadable();
    if (unreadable.length) throw new api.Refusal(0, { error: "", detail: unreadable });
    const values = form.values();
    const [prediction] = (await api.predict(values)).predictions;
    if (mine !== turn) return;
    clearProblems();
    first ??= prediction;
    showAnswer(prediction, form.edits().length > 0 && prediction !== first);
    await showMovers(values, mine);
  } catch (error) {
    if (mine === turn) refused(error);
  }
}

function fill(values, top, keep) {
  const edits = keep && form ? form.edits() : [];
  form = buildForm($("values"), model.features, values, top.map((one) => one.name), () => ask());
  form.apply(edits);
  filledWith = JSON.stringify(values);
}

/** An empty form is asked about once every value is there that must be. */
function showLacking(lacking) {
  clearProblems();
  $("difference").textContent = `${many(lacking, "value")} to fill in before they can be sent.`;
  $("probability").replaceChildren(el("p", { class: "note" }, "Nothing was sent yet."));
  $("moved-of").textContent = "Nothing was sent yet.";
  $("movers").replaceChildren();
  $("reset").disabled = !form.edits().length;
}

function showAnswer(prediction, changed) {
  $("probability").replaceChildren(...probabilityPanel(prediction, changed ? first : null, model));
  $("difference").textContent = changed ? difference(prediction, first)
    : `${probability(prediction.probability)}: nothing is changed yet.`;
  $("reset").disabled = !form.edits().length;
}

/** The contributions; returns the features, the most moving first. */
async function showMovers(values, mine) {
  const { features } = model;
  try {
    const response = await api.explain(values, Math.min(TOP, features.length));
    if (mine !== turn) return [];
    const [explanation] = response.explanations;
    $("moved-of").textContent = "From the mean of other customers to this one, value by value.";
    $("movers").replaceChildren(...movers(explanation, response.method, features));
    const place = new Map(explanation.contributions.map((one, index) => [one.feature, index]));
    const moving = features.filter((one) => place.has(one.name));
    return moving.sort((a, b) => place.get(a.name) - place.get(b.name));
  } catch (error) {
    if (mine !== turn) return [];
    $("moved-of").textContent = `Not explained: ${error.message}.`;
    $("movers").replaceChildren();
    return features.slice(0, TOP);
  }
}

/** A refusal: beside the fields that it names, the others above them. */
function refused(error) {
  if (!(error instanceof api.Refusal)) console.error(error);
  const detail = error.detail ?? [];
  const others = form ? form.refuse(detail) : detail;
  const placed = detail.length > others.length;
  const general = placed ? others.map((one) => one.what).join("; ") : error.message;
  $("problem").textContent = general;
  const why = placed ? "No answer: a value below is refused." : `No answer: ${general}`;
  $("probability").replaceChildren(
    el("p", { class: "figure" }, el("span", { class: "big soft" }, "–")),
    el("p", { class: "note" }, why));
  // What stood there stays, or the form below would jump under the fingers.
  $("moved-of").textContent = form ? "Of the last values that had an answer."
    : "Nothing without an answer.";
  if (!form) $("movers").replaceChildren();
  $("difference").textContent = placed ? "Refused: see the field that is marked." : "No answer.";
  $("reset").disabled = !form?.edits().length;
}

function clearProblems() {
  form?.refuse([]);
  $("problem").textContent = "";
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
  $("service").replaceChildren(...healthPanel(model, state));
  if (!model && !state.ready) $("question").textContent = `Nothing is served yet: ${state.why}.`;
}

begin();
