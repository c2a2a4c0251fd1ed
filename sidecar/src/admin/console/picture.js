// Draws a policy: labels or bands of scores on the left, models on the right.

import { svg } from "./dom.js";
import { bound, percent } from "./format.js";

const ROW = 30;
const BOX = 24;
/** About the width of a character, in pixels. */
const CHARACTER = 7.2;
/** Below this width, in pixels, there is less room for lines. */
const NARROW = 420;
const SERIES = 6;

/** The models of a target in words. */
export function targetText(target) {
  const total = target.reduce((sum, { weight }) => sum + weight, 0);
  if (target.length === 1) return target[0].model;
  return target.map(({ model, weight }) => `${model} ${percent(weight, total)}`).join(", ");
}

/** The picture of a policy, of this width in pixels. `models` are all of its file, whose order gives the colours. */
export function drawPolicy(policy, models, width) {
  const sources = sourcesOf(policy);
  const names = modelsOf(policy, models);
  const side = Math.min(230, Math.max(110, width * (width < NARROW ? 0.43 : 0.36)));
  const height = Math.max(sources.length, names.length) * ROW + 8;
  const y = (index, of) => 4 + ((index + 0.5) * (height - 8)) / of;
  const places = new Map(names.map((name, index) => [name, y(index, names.length)]));
  const color = (name) => `series-${models.findIndex((model) => model.name === name) % SERIES}`;
  const edges = sources.flatMap((source, index) => {
    const from = y(index, sources.length);
    const total = source.models.reduce((sum, { weight }) => sum + weight, 0);
    return source.models.map(({ model, weight }) =>
      edge(side, width - side, from, places.get(model), color(model), source, total > 0 ? weight / total : 0),
    );
  });
  const left = sources.map((source, index) =>
    box(0, y(index, sources.length), side, source.text, `source ${source.kind}`),
  );
  const right = names.map((name) =>
    box(width - side, places.get(name), side, name, `model ${color(name)}`, priceOf(models, name)),
  );
  const routes = sources.map(({ text, models: target }) => `${text} to ${targetText(target)}`);
  const description = `${policy.name}: ${routes.join("; ")}`;
  return svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description },
    edges,
    left,
    right,
  );
}

/** Labels by the model that they lead to, so that few lines cross; bands from the lowest; and all else. */
function sourcesOf(policy) {
  const routes = policy.routes.map((route) => ({
    ...route,
    kind: route.label === undefined ? "band" : "label",
    text: textOf(route),
  }));
  const isBands = routes.some(({ kind }) => kind === "band");
  if (!isBands) routes.sort((one, other) => compare(firstOf(one), firstOf(other)) || compare(one.text, other.text));
  const text = isBands ? "no prediction" : "everything else";
  return [...routes, { kind: "rest", text, models: policy.default }];
}

function modelsOf(policy, models) {
  const sources = sourcesOf(policy);
  const used = new Set(sources.flatMap((source) => source.models.map(({ model }) => model)));
  const first = (name) => sources.findIndex((source) => source.models.some(({ model }) => model === name));
  return models
    .map(({ name }) => name)
    .filter((name) => used.has(name))
    .sort((one, other) => first(one) - first(other));
}

function firstOf({ models }) {
  return models[0].model;
}

function priceOf(models, name) {
  const prices = models.find((model) => model.name === name)?.prices;
  return prices ? `$${prices.input} / $${prices.output}` : "";
}

function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

function textOf({ label, above, up_to: upTo }) {
  if (label !== undefined) return label;
  if (upTo === undefined) return above === undefined ? "any score" : `above ${bound(above)}`;
  return above === undefined ? `0 to ${bound(upTo)}` : `${bound(above)} to ${bound(upTo)}`;
}

function edge(x1, x2, y1, y2, color, { kind }, weight) {
  const middle = (x1 + x2) / 2;
  const line = svg("path", {
    class: `edge ${color} ${kind}`,
    d: `M${x1} ${y1} C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`,
    "stroke-width": 1 + weight,
  });
  if (weight === 1) return line;
  // Where the lines of a label are apart.
  const t = 0.7;
  const at = (from, toFrom, toTo, to) =>
    from * (1 - t) ** 3 + 3 * toFrom * t * (1 - t) ** 2 + 3 * toTo * t ** 2 * (1 - t) + to * t ** 3;
  const label = svg(
    "text",
    { class: "weight", x: at(x1, middle, middle, x2), y: at(y1, y1, y2, y2) + 4, "text-anchor": "middle" },
    percent(weight, 1),
  );
  return [line, label];
}

function box(x, y, width, text, kind, price = "") {
  const characters = Math.floor((width - 20) / CHARACTER);
  const hasPrice = price && text.length + price.length < characters;
  const fits = Math.max(4, characters);
  const shown = text.length > fits ? `${text.slice(0, fits - 1)}…` : text;
  return svg(
    "g",
    { class: `box ${kind}` },
    svg("title", {}, text),
    svg("rect", { x: x + 0.5, y: y - BOX / 2 + 0.5, width: width - 1, height: BOX - 1, rx: 5 }),
    svg("text", { x: x + 10, y: y + 4.5 }, shown),
    hasPrice ? svg("text", { class: "price", x: x + width - 10, y: y + 4.5, "text-anchor": "end" }, price) : null,
  );
}
