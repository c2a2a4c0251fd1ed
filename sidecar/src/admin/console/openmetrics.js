// Reads OpenMetrics text, and computes rates and quantiles of two readings.

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})? (\S+)(?: .*)?$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

/** The series of one reading. */
export class Metrics {
  /** By metric: `{labels, value}`. */
  #series = new Map();

  constructor(text) {
    for (const line of text.split("\n")) {
      if (line.startsWith("#")) continue;
      const match = LINE.exec(line);
      if (!match) continue;
      const [, name, labels, value] = match;
      if (!this.#series.has(name)) this.#series.set(name, []);
      this.#series.get(name).push({ labels: readLabels(labels ?? ""), value: readNumber(value) });
    }
  }

  /** The series of a metric whose labels have these values. */
  all(name, wanted = {}) {
    const all = this.#series.get(name) ?? [];
    return all.filter(({ labels }) => Object.entries(wanted).every(([label, value]) => labels[label] === value));
  }

  /** The labels of each series of a metric. */
  labels(name) {
    return this.all(name).map(({ labels }) => labels);
  }

  /** The sum of these series; 0 if there are none. */
  sum(name, wanted = {}) {
    return this.all(name, wanted).reduce((sum, { value }) => sum + value, 0);
  }

  /** The sums of a metric by one label: largest first, then by name. */
  sumBy(name, label) {
    const sums = new Map();
    for (const { labels, value } of this.all(name)) sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
    return [...sums].sort(([name, one], [other, two]) => two - one || name.localeCompare(other));
  }

  /** The cumulative buckets of a histogram: `[upper bound, count]`, by bound. */
  buckets(name) {
    const counts = new Map();
    for (const { labels, value } of this.all(`${name}_bucket`)) {
      const bound = readNumber(labels.le);
      counts.set(bound, (counts.get(bound) ?? 0) + value);
    }
    return [...counts].sort(([one], [other]) => one - other);
  }
}

function readLabels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/g, (_, character) => (character === "n" ? "\n" : character));
  }
  return labels;
}

function readNumber(text) {
  if (text === "+Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}

/** A quantile, 0 to 1, of what a histogram has observed between two readings; null if that is nothing. */
export function quantile(before, now, q) {
  const earlier = new Map(before);
  const counts = now.map(([bound, count]) => [bound, count - (earlier.get(bound) ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (!(total > 0)) return null;
  const rank = q * total;
  const index = counts.findIndex(([, count]) => count >= rank);
  const [upper, count] = counts[index];
  const [lower, below] = index > 0 ? counts[index - 1] : [0, 0];
  // Nothing is known beyond the last bound.
  if (upper === Infinity) return lower;
  return lower + (upper - lower) * ((rank - below) / (count - below));
}
