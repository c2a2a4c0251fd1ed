// The parts of the live view: numbers, charts and totals.

import { chart } from "./chart.js";
import { element, panel, table } from "./dom.js";
import { count, milliseconds, rate } from "./format.js";

export const REQUESTS = "llm_router_sidecar_requests_total";
export const DECISIONS = "llm_router_requests_total";
const COMPARISONS = "llm_router_comparisons_total";

/** The latest numbers. */
export function renderTiles(now, metrics) {
  const tiles = [
    ["Requests / s", rate(now.all)],
    ["Failures / s", rate(now.failures)],
    ["Latency p50", milliseconds(now.p50)],
    ["Latency p95", milliseconds(now.p95)],
    ["Latency p99", milliseconds(now.p99)],
    ["Queue", count(now.queue)],
    ["Workers", count(metrics.sum("llm_router_sidecar_workers"))],
  ];
  return element(
    "dl",
    { class: "tiles" },
    tiles.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

/** The numbers of the last minutes, in charts that share a width in pixels. */
export function renderCharts(history, available) {
  const now = history.at(-1).time;
  const of = (name, get) => ({ name, points: history.map((numbers) => [numbers.time, get(numbers) ?? null]) });
  const all = [
    {
      title: "Requests per second",
      format: rate,
      series: [of("all", (it) => it.all), of("classified", (it) => it.classified), of("failures", (it) => it.failures)],
    },
    {
      title: "Latency",
      format: milliseconds,
      series: [of("p50", (it) => it.p50), of("p95", (it) => it.p95), of("p99", (it) => it.p99)],
    },
    { title: "Queue", format: rate, series: [of("prompts that wait", (it) => it.queue)] },
  ];
  const models = [...history.at(-1).decisions.keys()];
  if (models.length > 0) {
    all.push({
      title: "Decisions per second, by model",
      format: rate,
      series: models.map((model) => of(model, (it) => it.decisions.get(model))),
    });
  }
  const columns = available >= 720 ? 2 : 1;
  const width = Math.max(240, Math.floor(available / columns) - 42);
  return element(
    "div",
    { class: "charts" },
    all.map((one) => element("div", { class: "panel" }, chart({ ...one, now, width }))),
  );
}

/** Requests by how they ended. */
export function renderOutcomes(metrics) {
  const rows = metrics.sumBy(REQUESTS, "outcome").map(([outcome, value]) => [outcome, count(value)]);
  return panel(
    "Requests since the start",
    table(
      "Requests by outcome",
      [
        { title: "Outcome", isHeader: true },
        { title: "Requests", number: true },
      ],
      rows,
    ),
  );
}

/** Decisions for Envoy's own filter. */
export function renderDecisions(metrics) {
  const rows = metrics
    .all(DECISIONS)
    .sort((one, other) => other.value - one.value)
    .map(({ labels, value }) => [labels.llm_model, labels.llm_policy, labels.llm_reason, count(value)]);
  if (rows.length === 0) {
    return panel(
      "Decisions since the start",
      element(
        "p",
        {},
        "None. This sidecar decides for Envoy’s own ext_proc filter; our filters count theirs in Envoy’s metrics.",
      ),
    );
  }
  const columns = [
    { title: "Model", isHeader: true },
    { title: "Policy" },
    { title: "Reason" },
    { title: "Requests", number: true },
  ];
  return panel("Decisions since the start", table("Decisions by model, policy and reason", columns, rows));
}

/** What candidate policies would have chosen, if there are any. */
export function renderComparisons(metrics) {
  const rows = metrics
    .all(COMPARISONS)
    .sort((one, other) => other.value - one.value)
    .map(({ labels, value }) => [labels.llm_policy, labels.llm_model, labels.llm_candidate, count(value)]);
  if (rows.length === 0) return null;
  const columns = [
    { title: "Policy", isHeader: true },
    { title: "Its model" },
    { title: "Model of its candidate" },
    { title: "Requests", number: true },
  ];
  return panel("Candidate policies", table("Requests by the model of a policy and of its candidate", columns, rows));
}
