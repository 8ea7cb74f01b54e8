// The probability on its scale, and what moved it.

import { at, el, many, number, probability, scrolling, shown, signed } from "./words.js";

/** The decision in words: what it is, and why. Only of a model that has a threshold. */
export function decided(prediction, threshold) {
  const word = prediction.decision ? "Contact" : "Leave";
  const side = prediction.decision ? "at or above" : "below";
  const value = probability(prediction.probability);
  return [word, `${value} is ${side} the threshold ${number(threshold)}`];
}

/** now: the prediction; first: the one it began with, when values were changed since. */
export function probabilityPanel(now, first, model) {
  const big = el("data", { class: "big", value: now.probability }, probability(now.probability));
  if (model.threshold === null)
    return [
      el("p", { class: "figure" }, big),
      scale(now, first, null),
      el("p", { class: "note", id: "undecided" }, "No decision: the model was trained without the"
        + " costs that one follows from (training.contact_cost, training.sale_value)."),
    ];
  const [word, why] = decided(now, model.threshold);
  const tone = now.decision ? "tag good" : "tag soft";
  return [
    el("p", { class: "figure" }, big, el("strong", { class: tone, id: "decision" }, word)),
    scale(now, first, model.threshold),
    el("p", { class: "note" }, `${why}. ${meaning(model)}`),
  ];
}

/** What the threshold stands for, where the service tells. */
function meaning({ contact_cost: cost, sale_value: value, threshold }) {
  if (cost !== undefined && value !== undefined)
    return `Contact pays from ${number(threshold)} on: a contact costs ${number(cost)},`
      + ` a sale is worth ${number(value)}.`;
  return "From the threshold on, the expected value of a contact covers its cost.";
}

function scale(now, first, threshold) {
  const parts = [`probability ${probability(now.probability)} on a scale from 0 to 1`];
  const above = el("div", { class: "above" });
  const bar = el("div", { class: "bar" },
    at(el("span", { class: "fill" }), "width", now.probability));
  if (threshold !== null) {
    const words = `threshold ${number(threshold)}`;
    parts.push(words);
    above.append(label(words, threshold));
    bar.append(at(el("span", { class: "threshold" }), "left", threshold));
  }
  const below = el("div", { class: "below" });
  if (first) {
    bar.append(at(el("span", { class: "before" }), "left", first.probability));
    below.append(label(`at first ${probability(first.probability)}`, first.probability));
    parts.push(`at first ${probability(first.probability)}`);
  }
  return el("div", { class: "scale", role: "img", "aria-label": parts.join(", ") },
    above, bar, below,
    el("div", { class: "ends" }, el("span", {}, "0"), el("span", {}, "0.5"), el("span", {}, "1")));
}

/** A label over its place, which at the ends of the scale leans inwards. */
function label(words, place) {
  const element = at(el("span", {}, words), "left", place);
  element.style.setProperty("transform", `translateX(${-100 * place}%)`);
  return element;
}

/** In words: what the changes did to the probability. */
export function difference(now, first) {
  const change = now.probability - first.probability;
  const turned = now.decision !== first.decision;
  const words = now.decision ? "contact" : "leave";
  const [before, after] = [first, now].map((one) => probability(one.probability));
  const parts = [`${before} at first, ${after} now:`];
  if (Math.abs(change) < 0.0005) parts.push("no noticeable difference");
  else parts.push(`${change > 0 ? "up" : "down"} by ${probability(Math.abs(change))}`);
  return `${parts.join(" ")}${turned ? `, which turns the decision to ${words}` : ""}.`;
}

/** The explanation as a sum: base, largest contributions, the rest, probability. */
export function movers(explanation, method, features) {
  const known = new Map(features.map((feature) => [feature.name, feature]));
  const rows = explanation.contributions;
  const sizes = [explanation.rest, ...rows.map((one) => one.contribution)].map(Math.abs);
  const largest = Math.max(1e-9, ...sizes);
  const head = el("tr", {}, el("th", { scope: "col" }, "feature"),
    el("th", { scope: "col", class: "number" }, "value"),
    el("th", { scope: "col", class: "railed" }, "moves it by"));
  const body = [
    sum("base", `mean probability of ${many(method.reference_rows, "other customer")}`,
      probability(explanation.base)),
    ...rows.map((one) => contribution(one, known.get(one.feature), largest)),
    el("tr", { class: "minor" },
      el("th", { scope: "row", colspan: 2 }, "all other features together"),
      el("td", { class: "railed" }, effect(explanation.rest, null, largest))),
    sum("probability", "of this customer", probability(explanation.probability)),
  ];
  const table = el("table", {}, el("thead", {}, head), el("tbody", {}, body));
  return [scrolling("contributions", table),
    el("p", { class: "note" }, `${method.name}, against ${many(method.reference_rows, "customer")}`
      + " that the model did not learn from. It describes the model, and does not name causes."),
    el("details", { class: "note" },
      el("summary", {}, "The method in full"), el("p", {}, method.what))];
}

function sum(name, what, value) {
  return el("tr", { class: "sum" },
    el("th", { scope: "row", colspan: 2 }, name, el("small", {}, what)),
    el("td", { class: "railed" }, el("b", {}, value)));
}

function contribution(entry, feature, largest) {
  const missing = entry.value === null;
  const unit = missing ? feature?.missing : feature?.unit;
  return el("tr", { class: "mover", "data-feature": entry.feature },
    el("th", { scope: "row", class: "wrap" },
      el("code", {}, entry.feature), el("small", {}, feature?.meaning)),
    el("td", { class: "number" }, shown(entry.value), el("small", {}, unit)),
    el("td", { class: "railed" }, effect(entry.contribution, entry.standard_error, largest)));
}

/** A bar from the middle: to the right where it raises the probability, to the left where not. */
function effect(value, error, largest) {
  const size = Math.abs(value) / largest / 2;
  const bar = el("span", { class: value < 0 ? "down" : "up" });
  at(bar, "left", value < 0 ? 0.5 - size : 0.5);
  at(bar, "width", size);
  const around = error ? el("small", {}, ` ± ${probability(error)}`) : null;
  return el("div", { class: "effect" },
    el("span", { class: "size" }, signed(value), around),
    el("span", { class: "rail", "aria-hidden": "true" }, bar));
}
