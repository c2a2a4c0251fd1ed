// The live view: rates, latencies and totals from the metrics.

import { byId, element } from "./dom.js";
import { time } from "./format.js";
import {
  DECISIONS,
  REQUESTS,
  renderCharts,
  renderComparisons,
  renderDecisions,
  renderOutcomes,
  renderTiles,
} from "./live-panels.js";
import { quantile } from "./openmetrics.js";
import { INTERVAL, sampler } from "./sampler.js";

const DURATION = "llm_router_sidecar_request_duration_seconds";
const QUEUE = "llm_router_sidecar_queue_depth";

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
    renderCharts(history, output.clientWidth),
    element(
      "div",
      { class: "totals" },
      renderOutcomes(sample.metrics),
      renderDecisions(sample.metrics),
      renderComparisons(sample.metrics),
    ),
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
