// Numbers as people read them.

const COUNT = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const RATE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const NOTHING = "–";

function isMissing(value) {
  return value === null || value === undefined || Number.isNaN(value);
}

/** A whole number, with separators. */
export function count(value) {
  return isMissing(value) ? NOTHING : COUNT.format(value);
}

/** A number of things, with the right form of their name. */
export function things(value, one, many) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Something per second. */
export function rate(value) {
  return isMissing(value) ? NOTHING : RATE.format(value);
}

/** A probability or a score, 0 to 1. */
export function fraction(value) {
  return isMissing(value) ? NOTHING : value.toFixed(3);
}

/** A bound as it is configured: single precision, without the noise of doubles. */
export function bound(value) {
  return String(Number(value.toPrecision(6)));
}

/** A fraction of a whole. */
export function percent(part, whole) {
  return whole > 0 ? `${Number(((part / whole) * 100).toFixed(1))} %` : NOTHING;
}

/** Milliseconds. */
export function milliseconds(value) {
  if (isMissing(value)) return NOTHING;
  if (value >= 10000) return `${(value / 1000).toFixed(1)} s`;
  return `${value >= 100 ? value.toFixed(0) : Number(value.toFixed(1))} ms`;
}

/** Dollars: costs of single requests are tiny. */
export function dollars(value) {
  if (isMissing(value)) return NOTHING;
  if (value === 0) return "$0";
  const digits = Math.abs(value) >= 1 ? 2 : Math.abs(value) >= 0.01 ? 4 : 6;
  return `${value < 0 ? "−" : ""}$${Math.abs(value).toFixed(digits)}`;
}

/** The beginning of a text. */
export function beginning(text, length) {
  const characters = Array.from(text.slice(0, length * 2 + 2));
  return characters.length > length ? `${characters.slice(0, length).join("")}…` : text;
}

/** The time of day. */
export function time(date) {
  return date.toLocaleTimeString("en-GB");
}
