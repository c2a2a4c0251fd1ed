// The live view: rates, latencies and totals from the metrics.

import { chart } from "./chart.js";
import { byId, element, table } from "./dom.js";
import { count, milliseconds, rate, time } from "./format.js";
import { quantile } from "./openmetrics.js";
import { INTERVAL, sampler } from "./sampler.js";

const REQUESTS = "llm_router_sidecar_requests_total";
const DURATION = "llm_router_sidecar_request_duration_seconds";
const QUEUE = "llm_router_sidecar_queue_depth";
const DECISIONS = "llmrouter_requests_total";

/** Outcomes that are no failure: the prediction is there, or nobody waits for one. */
const FINE = ["classified", "unclassifiable", "cancelled", "unknown_examples"];

/** The time that rates and quantiles look back, in milliseconds. */
const WINDOW = 30000;

/** The numbers of each reading: `{time, all, classified, failures, p50, p95, p99, queue, decisions}`. */
let history = [];

/** Connects the view. */
export function startLive() {
  const pause = byId("live-pause");
  pause.addEventListener("click", () => {
    sampler.pause(!sampler.isPaused);
    pause.setAttribute("aria-pressed", String(sampler.isPaused));
    pause.textContent = sampler.isPaused ? "Resume" : "Pause";
  });
  sampler.addEventListener("sample", ({ detail: sample }) => {
    if (sampler.samples.length === 1) history = [];
    history.push(numbersOf(sample));
    history = history.slice(-sampler.samples.length);
    byId("live-updated").textContent =
      `Read at ${time(new Date())}, every ${INTERVAL / 1000} s; rates and latencies of the last ${WINDOW / 1000} s`;
    render();
  });
  window.addEventListener("hashchange", render);
}

function numbersOf(sample) {
  const before = sampler.before(WINDOW);
  const seconds = (sample.time - before.time) / 1000;
  const rateOf = (name, wanted) => {
    return seconds > 0 ? (sample.metrics.sum(name, wanted) - before.metrics.sum(name, wanted)) / seconds : null;
  };
  const buckets = [before, sample].map(({ metrics }) => metrics.buckets(DURATION));
  const latency = (q) => {
    const value = quantile(...buckets, q);
    return value === null ? null : value * 1000;
  };
  const fine = FINE.map((outcome) => rateOf(REQUESTS, { outcome })).reduce((sum, value) => sum + (value ?? 0), 0);
  const all = rateOf(REQUESTS);
  const models = sample.metrics.sumBy(DECISIONS, "llm_model").map(([model]) => model);
  return {
    time: sample.time,
    all,
    classified: rateOf(REQUESTS, { outcome: "classified" }),
    failures: all === null ? null : Math.max(0, all - fine),
    p50: latency(0.5),
    p95: latency(0.95),
    p99: latency(0.99),
    queue: sample.metrics.sum(QUEUE),
    decisions: new Map(models.map((model) => [model, rateOf(DECISIONS, { llm_model: model })])),
  };
}

function render() {
  const output = byId("live-output");
  const sample = sampler.samples.at(-1);
  // Nothing is drawn that nobody sees.
  if (!sample || byId("view-live").hidden) return;
  const before = new Map(regionsOf(output).map((region) => [region.ariaLabel, region]));
  const focused = document.activeElement?.ariaLabel;
  output.replaceChildren(
    renderTiles(history.at(-1), sample.metrics),
    renderCharts(),
    element("div", { class: "totals" }, renderOutcomes(sample.metrics), renderDecisions(sample.metrics)),
  );
  // Who reads a table by keyboard stays there.
  for (const region of regionsOf(output)) {
    region.scrollLeft = before.get(region.ariaLabel)?.dataset.left ?? 0;
    region.addEventListener("scroll", () => {
      region.dataset.left = region.scrollLeft;
    });
    if (focused && region.ariaLabel === focused) region.focus();
  }
}

function regionsOf(output) {
  return [...output.querySelectorAll(".scroll")];
}

function renderTiles(now, metrics) {
  const tiles = [
    ["Requests per second", rate(now.all)],
    ["Failures per second", rate(now.failures)],
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

function renderCharts() {
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
  const wide = byId("live-output").clientWidth >= 720;
  const width = Math.max(240, Math.floor((byId("live-output").clientWidth - (wide ? 16 : 0)) / (wide ? 2 : 1)) - 34);
  return element(
    "div",
    { class: "charts" },
    all.map((one) => element("div", { class: "panel" }, chart({ ...one, now, width }))),
  );
}

function renderOutcomes(metrics) {
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

function renderDecisions(metrics) {
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

function panel(title, content) {
  return element("section", { class: "panel" }, element("h3", {}, title), content);
}
