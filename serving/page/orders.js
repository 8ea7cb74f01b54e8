// From invoice lines to invoices, and the table of them.

import { el, many, money, scrolling } from "./words.js";

const DAY = 24 * 60 * 60 * 1000;

/**
 * Invoices in the order of their days: {id, day, date, lines, value, cancelled, why}.
 *
 * lines: as the service takes them.  leftOut: its `left_out` of this customer; `why` of an invoice
 * says why lines of it do not count, and its value is of the others.  day: days since 1970, null
 * when no time could be read.  transactions: what GET /model says of the log.
 */
export function invoices(lines, leftOut, transactions) {
  const prefix = transactions?.contract?.cancellation_prefix ?? "C";
  const reasons = new Map(leftOut.map((one) => [one.line, one]));
  const byKey = new Map();
  lines.forEach((line, index) => {
    const date = String(line.invoiced_at ?? "").slice(0, 10);
    const key = line.invoice_id ?? `day ${date}`; // without invoices, a day's lines are one
    const invoice = byKey.get(key) ?? newInvoice(line.invoice_id ?? null, date);
    byKey.set(key, invoice);
    invoice.lines += 1;
    if (date < invoice.date) Object.assign(invoice, dated(date));
    if (reasons.has(index)) reasons.get(index).why.forEach((why) => invoice.why.add(why));
    else invoice.value += amount(line);
    if (!reasons.has(index)) invoice.counted += 1;
    invoice.cancelled ||= isCancelled(line, prefix);
  });
  return [...byKey.values()].sort((a, b) => (a.day ?? Infinity) - (b.day ?? Infinity));
}

/** "2025-03-02" -> days since 1970, null for no date. */
export function toDay(text) {
  const milliseconds = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(milliseconds) ? null : milliseconds / DAY;
}

export function toDate(day) {
  return new Date(day * DAY).toISOString().slice(0, 10);
}

/** One invoice in words, for a mark of the time line and for a screen reader. */
export function inWords(invoice) {
  const parts = [invoice.date || "no date", kind(invoice)];
  if (invoice.id) parts.push(`invoice ${invoice.id}`);
  const out = many(invoice.lines - invoice.counted, "line");
  if (invoice.counted)
    parts.push(`value ${money(invoice.value)} in ${many(invoice.counted, "line")}`);
  if (invoice.why.size) parts.push(`left out ${out}: ${whyNot(invoice)}`);
  return parts.join(", ");
}

export function kind(invoice) {
  if (invoice.counted === 0) return "left out";
  return invoice.cancelled ? "cancellation" : "sale";
}

/** What can be read without the picture. */
export function orderTable(list) {
  const head = ["day", "kind", "invoice", "lines", "value", "left out because"];
  const rows = list.map((invoice) =>
    el("tr", {},
      el("th", { scope: "row", class: "day" }, invoice.date || "no date"),
      el("td", {}, kind(invoice)),
      el("td", { class: "wrap" }, invoice.id ?? ""),
      el("td", { class: "number" }, String(invoice.lines)),
      el("td", { class: "number" }, money(invoice.value)),
      el("td", {}, whyNot(invoice)),
    ));
  const kinds = { lines: "number", value: "number" };
  const columns = head.map((name) => el("th", { scope: "col", class: kinds[name] }, name));
  const table = el("table", {}, el("thead", {}, el("tr", {}, columns)), el("tbody", {}, rows));
  const title = `The same as a table: ${many(list.length, "invoice")}`;
  return el("details", {}, el("summary", {}, title), scrolling("invoices", table));
}

/** How many lines do not count, by reason, as a sentence; "" when all do. */
export function leftOutInWords(leftOut, lines) {
  if (!leftOut.length) return "";
  const counts = new Map();
  for (const one of leftOut)
    for (const why of one.why) counts.set(why, (counts.get(why) ?? 0) + 1);
  const texts = [...counts].map(([why, count]) => `${count}: ${why}`).join("; ");
  return `${leftOut.length} of ${many(lines, "line")} left out (${texts}).`;
}

function newInvoice(id, date) {
  return { id, ...dated(date), lines: 0, counted: 0, value: 0, cancelled: false, why: new Set() };
}

function dated(date) {
  const day = toDay(date);
  return { day, date: day === null ? "" : date };
}

function amount(line) {
  return line.amount ?? (line.quantity ?? 1) * (line.unit_price ?? 0);
}

function isCancelled(line, prefix) {
  if (prefix && line.invoice_id !== undefined) return String(line.invoice_id).startsWith(prefix);
  return (line.quantity ?? line.amount ?? 0) < 0;
}

function whyNot(invoice) {
  return [...invoice.why].join("; ");
}
