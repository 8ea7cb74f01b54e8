// Elements, and numbers in words. What the service says only ever becomes text, never markup:
// a category or a meaning may hold anything.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Attributes that are null or false are left out; children: elements or text. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A place or a size in percent. The content security policy forbids style attributes, not this. */
export function at(element, property, share) {
  element.style.setProperty(property, `${Math.min(Math.max(share, 0), 1) * 100}%`);
  return element;
}

const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const MONEY = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** 0.3333, 84.3, 12,345: what a person reads. */
export function number(value) {
  return minus((Math.abs(value) < 1000 ? SHORT : WHOLE).format(value));
}

export function money(value) {
  return minus(MONEY.format(value));
}

export function probability(value) {
  return value.toFixed(3);
}

/** +0.120 or −0.120, with a true minus sign; what rounds to nothing has no sign. */
export function signed(value, digits = 3) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value > 0 ? "+" : "−") + text;
}

function minus(text) {
  return text.replace("-", "−");
}

export function many(count, singular, more = `${singular}s`) {
  return `${WHOLE.format(count)} ${count === 1 ? singular : more}`;
}

/** A feature's value as text, or "missing". */
export function shown(value) {
  if (value === null || value === undefined) return "missing";
  return typeof value === "number" ? number(value) : String(value);
}

/** "2026-11-23 23:31 UTC" of an ISO time; anything else as it is. */
export function time(text) {
  const when = new Date(text);
  if (Number.isNaN(when.getTime())) return String(text);
  return `${when.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** Which values a feature may have. */
export function range(feature) {
  if (feature.categories?.length) return `${feature.categories.join(", ")}; or any other text`;
  const limits = [["from", feature.low], ["to", feature.high]];
  const bounds = limits.filter(([, limit]) => limit !== null && limit !== undefined);
  return bounds.map(([word, limit]) => `${word} ${number(limit)}`).join(" ") || "any number";
}

/** A table that scrolls within itself on a narrow screen, and can be scrolled with the keyboard. */
export function scrolling(label, table) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
}

export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return known.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)));
}
