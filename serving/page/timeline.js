// A customer's invoices on a time line, up to the as-of date, and the window that is asked about.
// A sale is a disc above the line, a cancellation a diamond that hangs below it.

import { inWords, kind, toDate, toDay } from "./orders.js";
import { el, many, number, svg } from "./words.js";

const HEIGHT = 230;
const PAD = { left: 46, right: 12, top: 30, bottom: 26 };
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** The figure. It is drawn anew when its width changes, so that text keeps its size. */
export function timeline(list, asOf, horizonDays) {
  const dated = list.filter((one) => one.day !== null);
  const rest = summary(list, dated);
  const read = el("p", { class: "readout" }, rest);
  const plot = el("div", { class: "timeline" });
  const figure = el("figure", {},
    el("figcaption", { class: "keys" },
      key("sale", "sale"), key("cancellation", "cancellation"), key("left out", "left out"),
      el("span", {}, svg("svg", { class: "key", viewBox: "0 0 24 12", "aria-hidden": "true" },
        svg("rect", { class: "window", width: 24, height: 12 })),
        ` the ${many(horizonDays, "day")} that are predicted`)),
    plot, read);
  let current = 0; // the mark that Tab comes to; arrows move on from there
  const draw = (width) => {
    const picture = drawn(dated, toDay(asOf), horizonDays, width, rest);
    const say = (place) => (read.textContent = place === null ? rest : inWords(dated[place]));
    current = listen(picture, current, say);
    plot.replaceChildren(picture.root);
  };
  let width = 0;
  new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now > 0 && now !== width) draw((width = now));
  }).observe(plot);
  return figure;
}

function summary(list, dated) {
  const sales = list.filter((one) => kind(one) === "sale").length;
  const cancelled = list.filter((one) => kind(one) === "cancellation").length;
  const span = dated.length ? ` from ${dated[0].date} to ${dated.at(-1).date}` : "";
  const beside = cancelled ? `, ${many(cancelled, "cancellation")}` : "";
  return `${many(sales, "sale")}${beside}${span}. Point at a mark, or move with the arrow keys.`;
}

function drawn(list, asOf, horizonDays, width, label) {
  const end = asOf + horizonDays;
  const begin = Math.min(asOf - 60, ...list.map((one) => one.day)) - 5;
  const high = Math.max(1, ...list.map((one) => one.value));
  const low = Math.min(0, ...list.map((one) => one.value));
  const floor = low < 0 ? Math.min(low, -0.12 * high) : 0;
  const last = Math.max(end, ...list.map((one) => one.day));
  const right = width - PAD.right, bottom = HEIGHT - PAD.bottom;
  const x = (day) => PAD.left + ((day - begin) / (last - begin)) * (right - PAD.left);
  const y = (value) => PAD.top + ((high - value) / (high - floor)) * (bottom - PAD.top);

  const root = svg("svg", { width, height: HEIGHT, role: "group", "aria-label": label });
  root.append(svg("rect", {
    class: "window", x: x(asOf), y: PAD.top, width: x(end) - x(asOf), height: bottom - PAD.top,
  }));
  root.append(text(0, PAD.top - 14, "start", "value"));
  for (const value of ticks(high)) {
    root.append(svg("path", { class: "grid", d: `M${PAD.left} ${y(value)}H${right}` }));
    root.append(text(PAD.left - 7, y(value) + 4, "end", number(value)));
  }
  for (const [day, name] of months(begin, last, (right - PAD.left) / 62)) {
    root.append(svg("path", { class: "grid", d: `M${x(day)} ${bottom}v5` }));
    root.append(text(x(day), bottom + 18, "middle", name));
  }
  root.append(svg("path", { class: "level", d: `M${PAD.left} ${y(0)}H${right}` }));
  root.append(svg("path", { class: "as-of", d: `M${x(asOf)} ${PAD.top - 8}V${bottom}` }));
  // Where the window is narrow, the word stands on the other side of the line.
  const roomy = right - x(asOf) > 140;
  root.append(text(x(asOf) + (roomy ? 0 : 4), PAD.top - 14, roomy ? "middle" : "end",
    `as of ${toDate(asOf)}`, "strong"));
  const marks = list.map((one) => mark(one, x(one.day), y));
  root.append(...marks.map((one) => one.element));
  return { root: el("div", {}, root), marks };
}

function mark(invoice, x, y) {
  const shape = kind(invoice), top = shape === "left out" ? y(0) : y(invoice.value);
  const element = svg("g", {
    class: `mark ${shape.replace(" ", "-")}`,
    role: "img", "aria-label": inWords(invoice), tabindex: "-1",
  });
  element.append(svg("path", { class: "stem", d: `M${x} ${y(0)}V${top}` }),
    svg("circle", { class: "ring", cx: x, cy: top, r: 10 }), symbol(shape, x, top));
  return { element, x, y: top };
}

function symbol(shape, x, y) {
  if (shape === "cancellation")
    return svg("path", { class: "symbol", d: `M${x} ${y - 6}l6 6l-6 6l-6 -6z` });
  return svg("circle", { class: "symbol", cx: x, cy: y, r: shape === "sale" ? 4.5 : 3.5 });
}

function key(shape, words) {
  const picture = svg("svg", { class: "key", viewBox: "0 0 14 14", "aria-hidden": "true" },
    svg("g", { class: `mark ${shape.replace(" ", "-")}` }, symbol(shape, 7, 7)));
  return el("span", {}, picture, ` ${words}`);
}

/**
 * Pointer and keys. say(place | null).  Returns the mark that Tab comes to.
 *
 * root is the <div> around the picture: Chromium lets Tab stop at an <svg> that listens to focus.
 */
function listen({ root, marks }, current, say) {
  const elements = marks.map((one) => one.element);
  let lit = null;
  const light = (place) => {
    if (place === lit) return;
    elements[lit]?.classList.remove("lit");
    elements[place]?.classList.add("lit");
    say((lit = place));
  };
  const under = (event) => light(nearest(marks, event, root.getBoundingClientRect()));
  root.addEventListener("pointermove", under);
  root.addEventListener("pointerdown", under);
  root.addEventListener("pointerleave", () => light(null));
  root.addEventListener("focusout", () => light(null));
  root.addEventListener("focusin", (event) => light(elements.indexOf(event.target)));
  root.addEventListener("keydown", (event) => {
    const place = elements.indexOf(document.activeElement);
    const end = elements.length - 1;
    const steps = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: end };
    const next = elements[steps[event.key]];
    if (place < 0 || !next) return;
    event.preventDefault();
    elements[place].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
  const first = Math.min(current, elements.length - 1);
  elements[first]?.setAttribute("tabindex", "0");
  return Math.max(first, 0);
}

function nearest(marks, event, { left, top }) {
  const away = (one) => Math.hypot(one.x - event.clientX + left, (one.y - event.clientY + top) / 4);
  const places = marks.map((_, place) => place);
  const best = places.sort((a, b) => away(marks[a]) - away(marks[b]))[0];
  return best !== undefined && away(marks[best]) < 40 ? best : null;
}

/** Two to four round values from 0 to high. */
function ticks(high) {
  const power = 10 ** Math.floor(Math.log10(high));
  const step = [0.5, 1, 2, 5].map((part) => part * power).find((size) => high / size <= 4);
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, place) => place * step);
}

/** First days of months, at most `room` of them: [day, name]. */
function months(begin, end, room) {
  const all = [];
  for (const when = new Date(`${toDate(begin).slice(0, 7)}-01`); ; ) {
    when.setUTCMonth(when.getUTCMonth() + 1);
    const day = toDay(when.toISOString().slice(0, 10));
    if (day > end) break;
    all.push([day, `${MONTHS[when.getUTCMonth()]} ${String(when.getUTCFullYear()).slice(2)}`]);
  }
  const step = [1, 2, 3, 6, 12, 24, 60].find((months) => all.length / months <= room) ?? 120;
  return all.filter(([day]) => monthNumber(day) % step === 0);
}

function monthNumber(day) {
  const date = toDate(day);
  return Number(date.slice(0, 4)) * 12 + Number(date.slice(5, 7)) - 1;
}

function text(x, y, anchor, words, kind = "") {
  return svg("text", { x, y, "text-anchor": anchor, class: kind }, words);
}
