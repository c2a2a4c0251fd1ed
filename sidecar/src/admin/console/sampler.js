// Reads the metrics every few seconds while the page is visible, and keeps the last minutes.

import { metrics } from "./api.js";
import { Metrics } from "./openmetrics.js";

/** Milliseconds between two readings. */
export const INTERVAL = 2000;

/** Readings that are kept: five minutes of them. */
const KEPT = 150;

class Sampler extends EventTarget {
  /** `{time, metrics}`, oldest first. */
  samples = [];
  isPaused = false;
  #timer = null;
  #isReading = false;

  /** Starts reading. */
  start() {
    document.addEventListener("visibilitychange", () => this.#schedule(0));
    this.#schedule(0);
  }

  /** Stops reading, or goes on. */
  pause(isPaused) {
    this.isPaused = isPaused;
    this.#schedule(0);
  }

  /** The last reading that is at least this old, in milliseconds; else the first one. */
  before(age) {
    const until = (this.samples.at(-1)?.time ?? 0) - age;
    return this.samples.findLast(({ time }) => time <= until) ?? this.samples[0];
  }

  #schedule(delay) {
    clearTimeout(this.#timer);
    if (this.isPaused || document.visibilityState !== "visible") return;
    this.#timer = setTimeout(() => this.#read(), delay);
  }

  async #read() {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      this.#add({ time: performance.now(), metrics: new Metrics(await metrics(AbortSignal.timeout(10000))) });
    } catch (error) {
      const message = error.name === "TimeoutError" ? "The sidecar does not respond." : error.message;
      this.dispatchEvent(new CustomEvent("failure", { detail: message }));
    } finally {
      this.#isReading = false;
      this.#schedule(INTERVAL);
    }
  }

  #add(sample) {
    const name = "llm_router_sidecar_requests_total";
    // A sidecar that was restarted counts from zero.
    if (sample.metrics.sum(name) < (this.samples.at(-1)?.metrics.sum(name) ?? 0)) this.samples = [];
    this.samples.push(sample);
    if (this.samples.length > KEPT) this.samples.shift();
    this.dispatchEvent(new CustomEvent("sample", { detail: sample }));
  }
}

export const sampler = new Sampler();
