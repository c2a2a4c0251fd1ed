// The result of a comparison of two policies.

import { bar, element, panel, table } from "./dom.js";
import { beginning, count, dollars, percent, things } from "./format.js";

const REJECTED = "rejected";
const UNROUTED = "not routed";

/** Where a request goes. */
function destination({ outcome }) {
  if (outcome.action === "forward") return outcome.model;
  return outcome.action === "respond" ? `${REJECTED} (${outcome.status})` : UNROUTED;
}

function why({ outcome }) {
  if (outcome.action !== "forward") return "";
  return outcome.label ? `${outcome.reason}: ${outcome.label}` : outcome.reason;
}

function costOf({ models }) {
  const chosen = models.find(({ standing }) => standing === "chosen");
  return chosen ? chosen.estimated_cost : 0;
}

function isSame({ results: [a, b] }) {
  return destination(a) === destination(b);
}

/** The comparison in one line. */
export function summaryOf(rows) {
  const compared = rows.filter(({ error }) => !error);
  const agreed = compared.filter(isSame).length;
  const failed = rows.length - compared.length;
  const failures = failed > 0 ? ` ${things(failed, "prompt", "prompts")} could not be explained.` : "";
  const all = things(compared.length, "prompt", "prompts");
  return `Both agree on ${count(agreed)} of ${all} (${percent(agreed, compared.length)}).${failures}`;
}

/** The tables of a comparison. */
export function renderComparison(rows) {
  const compared = rows.filter(({ error }) => !error);
  const parts = [];
  if (compared.length > 0) parts.push(renderSplit(compared));
  parts.push(renderRows(rows));
  return parts;
}

function renderSplit(rows) {
  const sides = [0, 1].map((side) => rows.map(({ results }) => results[side]));
  const places = [...new Set(sides.flat().map(destination))].sort();
  const cell = (number) => [bar(number / rows.length), " ", `${count(number)} (${percent(number, rows.length)})`];
  const split = places.map((place) => [
    place,
    ...sides.map((side) => cell(side.filter((result) => destination(result) === place).length)),
  ]);
  const costs = sides.map(totalCost);
  const columns = [
    { title: "Destination", isHeader: true },
    { title: "Policy A", number: true },
    { title: "Policy B", number: true },
  ];
  const [a, b] = costs.map(({ known }) => known);
  const difference =
    a > 0 ? ` B costs ${dollars(Math.abs(b - a))} ${b > a ? "more" : "less"} (${percent(Math.abs(b - a), a)}).` : "";
  const unknown = costs.some(({ missing }) => missing > 0) ? " Models without a price are not in it." : "";
  return panel(
    "Split by model and estimated cost",
    table("Requests by model, and estimated cost of all", columns, [
      ...split,
      ["Estimated cost", ...costs.map(({ known }) => dollars(known))],
    ]),
    element("p", { class: "hint" }, `Estimated for the assumed completion tokens.${difference}${unknown}`),
  );
}

function totalCost(side) {
  const costs = side.map(costOf);
  return {
    known: costs.reduce((sum, cost) => sum + (cost ?? 0), 0),
    missing: costs.filter((cost) => cost === null).length,
  };
}

function renderRows(rows) {
  const columns = [
    { title: "#", number: true },
    { title: "Prompt", class: "prompt" },
    { title: "Policy A" },
    { title: "Policy B" },
    { title: "Same" },
  ];
  const cells = (all) =>
    all.map(([row, number]) => {
      const prompt = element("span", { dir: "auto" }, beginning(row.text, 120));
      if (row.error) return [String(number), prompt, `not explained: ${row.error}`, "", ""];
      const side = (result) => [
        element("b", {}, destination(result)),
        element("br"),
        element("small", {}, why(result)),
      ];
      const same = element("span", { class: isSame(row) ? "same" : "differs" }, isSame(row) ? "yes" : "no");
      return [String(number), prompt, side(row.results[0]), side(row.results[1]), same];
    });
  const numbered = rows.map((row, index) => [row, index + 1]);
  const holder = element("div");
  const fill = (onlyDifferences) => {
    const shown = onlyDifferences ? numbered.filter(([row]) => row.error || !isSame(row)) : numbered;
    holder.replaceChildren(table("Each prompt by both policies", columns, cells(shown)));
  };
  const filter = element("input", { type: "checkbox", onchange: ({ target }) => fill(target.checked) });
  fill(false);
  return panel("Prompts", element("label", { class: "check" }, filter, " Only differences"), holder);
}
