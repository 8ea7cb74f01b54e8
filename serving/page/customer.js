// The customer: the cards to choose from, and the orders of a sample.

import { invoices, leftOutInWords, orderTable } from "./orders.js";
import { timeline } from "./timeline.js";
import { el, many } from "./words.js";

/** Beside the samples: a form that is filled in by hand. */
export const BLANK = { name: "empty form", values: null };

/** Radio buttons in cards. choose(sample): called when another one is taken. */
export function sampleCards(samples, choose) {
  return [...samples, BLANK].map((sample, place) => {
    const input = el("input", { type: "radio", name: "sample", checked: place === 0 });
    input.addEventListener("change", () => choose(sample));
    const small = about(sample).map((words) => el("small", {}, words));
    return el("label", { class: "card" }, input, el("span", {}, sample.name, small));
  });
}

function about(sample) {
  if (sample.lines) return [many(sample.lines.length, "line"), sample.as_of];
  if (sample.values) return [many(Object.keys(known(sample.values)).length, "value")];
  return ["filled in by hand"];
}

/** The values that are there: one that is missing is not sent. */
export function known(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
}

/** The time line, what of it does not count, and the table; nothing for a sample without lines. */
export function orders(sample, leftOut, model) {
  if (!sample.lines) return [];
  const list = invoices(sample.lines, leftOut, model.transactions);
  const horizon = model.transactions?.features?.horizon_days ?? model.question?.horizon_days ?? 0;
  const note = leftOutInWords(leftOut, sample.lines.length);
  return [timeline(list, sample.as_of, horizon),
    note && el("p", { class: "note", id: "left-out" }, note), orderTable(list)].filter(Boolean);
}
