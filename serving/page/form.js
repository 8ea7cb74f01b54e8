// The form: an input for each feature. A value that nobody touched is sent as it came, not as it
// is shown: shown are six digits.

import { el, many, range, shown } from "./words.js";

const ONE_GROUP = 12; // up to so many features need no folding
const SMALL_GROUP = 2; // units with fewer features share a group

/**
 * Builds the form into `holder`.
 *
 * values: {feature: value | null}, none for an empty form.  first: names of the features that stand
 * open at the top.  changed(): called after every change.
 */
export function buildForm(holder, features, values, first, changed) {
  const fields = new Map(
    features.map((one) => [one.name, field(one, values?.[one.name], changed)]));
  holder.replaceChildren(...groups(features, first).map(([title, members, open]) => {
    const grid = el("div", { class: "fields" }, members.map((one) => fields.get(one.name).element));
    if (open) return grid;
    return el("details", {}, el("summary", {}, `${title} (${members.length})`), grid);
  }));
  const every = [...fields.values()];
  return {
    /** What is sent: a field that is empty is left out, which means missing. */
    values: () => Object.fromEntries(
      every.map((one) => [one.name, one.value()]).filter(([, value]) => value !== null)),
    edits: () => every.filter((one) => one.edited()).map((one) => [one.name, one.raw()]),
    apply: (edits) => edits.forEach(([name, raw]) => fields.get(name)?.set(raw)),
    lacking: () => every.filter((one) => one.required && one.value() === null).length,
    reset: () => every.forEach((one) => one.reset()),
    /** Shows what was refused beside its field; returns what belongs to no field. */
    refuse(problems) {
      every.forEach((one) => one.say(""));
      const places = problems.filter((one) => fields.has(one.field));
      places.forEach((one) => fields.get(one.field).say(sentence(one)));
      return problems.filter((one) => !fields.has(one.field));
    },
    /** A number that the browser could not read, before anything is sent. */
    unreadable: () => every.filter((one) => one.unreadable()).map((one) => (
      { field: one.name, what: "must be a number", value: null })),
  };
}

function sentence({ what, value }) {
  return `${what}${value === null ? "" : `, got ${value}`}`;
}

/** [title, features, open]: what is to stand at the top, then the rest by unit, folded. */
function groups(features, first) {
  if (features.length <= ONE_GROUP) return [["", features, true]];
  const known = new Map(features.map((one) => [one.name, one]));
  const top = first.map((name) => known.get(name)).filter(Boolean);
  const folded = new Map();
  for (const one of features.filter((one) => !top.includes(one))) {
    const unit = one.categories?.length ? "Categories" : `In ${one.unit}`;
    folded.set(unit, [...(folded.get(unit) ?? []), one]);
  }
  const large = [...folded].filter(([, members]) => members.length > SMALL_GROUP);
  const small = [...folded].filter(([, members]) => members.length <= SMALL_GROUP);
  const others = small.flatMap(([, members]) => members);
  if (others.length) large.push([large.length ? "Others" : "All", others]);
  return [["", top, true], ...large.map(([title, members]) => [title, members, false])];
}

function field(feature, value, changed) {
  const start = value ?? null;
  const id = `field-${encodeURIComponent(feature.name)}`; // a list of ids has blanks between them
  const input = feature.categories?.length ? choice(feature, start) : numeric(feature, start);
  const began = input.value;
  const problem = el("small", { class: "problem", id: `${id}-problem`, "aria-live": "polite" });
  const before = el("small", { class: "before" });
  const missing = feature.missing ? ` Empty: missing, as when ${feature.missing}.` : "";
  const words = `${feature.meaning}. ${rangeOf(feature)}${missing}`;
  const about = el("small", { id: `${id}-about` }, words);
  input.id = id;
  input.name = feature.name;
  input.setAttribute("aria-describedby", `${id}-about ${id}-problem`);
  const unit = feature.categories?.length ? "" : feature.unit;
  const element = el("div", { class: "field" },
    el("label", { for: id }, feature.name),
    el("span", { class: "entry" }, input, el("span", {}, unit)),
    before, problem, about);
  const edited = () => input.value !== began || input.validity.badInput;
  const mark = () => {
    element.classList.toggle("edited", edited());
    before.textContent = edited() && value !== undefined ? `at first ${shown(start)}` : "";
  };
  input.addEventListener("input", () => (mark(), changed()));
  return {
    element, name: feature.name, required: !feature.missing, edited,
    raw: () => input.value,
    value: () => (edited() ? read(feature, input) : start),
    unreadable: () => input.validity.badInput,
    set: (raw) => ((input.value = raw), mark()),
    reset: () => ((input.value = began), mark()),
    say(words) {
      problem.textContent = words;
      input.setAttribute("aria-invalid", words ? "true" : "false");
      const folded = words ? element.closest("details") : null;
      if (folded) folded.open = true;
    },
  };
}

function read(feature, input) {
  if (input.value === "") return null;
  return feature.categories?.length ? input.value : Number(input.value);
}

function numeric(feature, start) {
  const { low, high } = feature;
  const narrow = typeof low === "number" && typeof high === "number" && high - low <= 2;
  const input = el("input", {
    type: "number", inputmode: "decimal", min: low, max: high, autocomplete: "off",
    step: feature.unit === "0 or 1" ? 1 : narrow ? 0.05 : "any",
    placeholder: feature.missing ? "missing" : null,
  });
  input.value = start === null ? "" : String(Number(Number(start).toPrecision(6)));
  return input;
}

function choice(feature, start) {
  const { categories } = feature;
  const other = otherName(categories);
  const select = el("select", {},
    el("option", { value: "" }, feature.missing ? "missing" : "choose"),
    categories.map((name) => el("option", { value: name }, name)),
    el("option", { value: other }, "any other"));
  if (start !== null) select.value = categories.includes(start) ? start : other;
  return select;
}

/** A text that is none of the categories in any letter case, as features/categories.py makes it. */
function otherName(categories) {
  let name = "other";
  while (categories.some((known) => known.toLowerCase() === name)) name = `(${name})`;
  return name;
}

function rangeOf(feature) {
  const count = feature.categories?.length ?? 0;
  if (count) return `One of ${many(count, "category", "categories")}, or any other.`;
  const words = range(feature);
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}
