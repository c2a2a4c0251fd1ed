// Small line charts over the last minutes.

import { element, svg } from "./dom.js";

const HEIGHT = 120;
const LEFT = 58;
const BOTTOM = 18;
const TOP = 8;
/** The shortest time that a chart shows, in milliseconds. */
const MIN_SPAN = 60000;

/** A chart of some series: `{name, points: [[time, value|null]]}`, with times in milliseconds up to `now`. */
export function chart({ title, series, format, now, width }) {
  const values = series.flatMap(({ points }) => points.map(([, value]) => value)).filter((value) => value !== null);
  const top = niceMaximum(Math.max(0, ...values));
  const first = Math.min(now, ...series.map(({ points }) => points[0]?.[0] ?? now));
  const span = Math.max(MIN_SPAN, now - first);
  const x = (time) => LEFT + ((time - (now - span)) / span) * (width - LEFT - 4);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const lines = series.map(({ points }, index) =>
    svg("path", { class: `line series-${index % 6}`, d: pathOf(points, x, y) }),
  );
  const grid = [0, top / 2, top].map((value) => [
    svg("line", { class: "grid", x1: LEFT, x2: width - 4, y1: y(value), y2: y(value) }),
    svg("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
  ]);
  const ticks = [
    [-span, "start", `−${Math.round(span / 1000)} s`],
    [0, "end", "now"],
  ].map(([at, anchor, text]) =>
    svg("text", { class: "tick", x: x(now + at), y: HEIGHT - 3, "text-anchor": anchor }, text),
  );
  const last = series.map(({ name, points }) => [name, points.at(-1)?.[1] ?? null]);
  const shown = (value) => (value === null ? "–" : format(value));
  const description = `${title}: ${last.map(([name, value]) => `${name} ${shown(value)}`).join(", ")}`;
  const drawing = svg(
    "svg",
    { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": description },
    grid,
    ticks,
    lines,
  );
  const legend = last.map(([name, value], index) =>
    element(
      "li",
      { class: `series-${index % 6}` },
      element("span", { class: "key", "aria-hidden": "true" }),
      `${name} `,
      element("b", {}, shown(value)),
    ),
  );
  return element(
    "figure",
    { class: "chart" },
    element("figcaption", {}, title),
    drawing,
    element("ul", { class: "legend" }, legend),
  );
}

/** A line with gaps where nothing is known. */
function pathOf(points, x, y) {
  let isOpen = false;
  const commands = points.map(([time, value]) => {
    if (value === null) {
      isOpen = false;
      return "";
    }
    const command = `${isOpen ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
    isOpen = true;
    return command;
  });
  return commands.join(" ");
}

/** The next number of 1, 2 or 5 times a power of ten. */
function niceMaximum(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}
