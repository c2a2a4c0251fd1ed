// What concerns the whole page: whether the sidecar responds, which version it is, and whether it captures prompts.

import { byId, element } from "./dom.js";
import { sampler } from "./sampler.js";

const shown = new Map();

/** Shows a notice under a key of its own, or removes it if there is no text. */
export function showNotice(key, text, kind = "") {
  const before = shown.get(key);
  if ((before?.textContent ?? "") === (text ?? "")) return;
  before?.remove();
  shown.delete(key);
  if (!text) return;
  const notice = element("p", { class: `notice ${kind}`, "data-notice": key }, text);
  byId("notices").append(notice);
  shown.set(key, notice);
}

/** Keeps the notices as the metrics say. */
export function watchMetrics() {
  sampler.addEventListener("sample", ({ detail: sample }) => {
    showNotice("unreachable", null);
    const captures = sample.metrics.sum("llm_router_sidecar_capture_enabled") > 0;
    const text =
      "Capture is on: this sidecar writes a sample of its requests’ prompts to files, not those of this console.";
    showNotice("capture", captures ? text : null, "warn");
    const version = sample.metrics.labels("llm_router_sidecar_build_info")[0]?.version;
    say(version ? `Sidecar ${version}` : "Sidecar");
  });
  sampler.addEventListener("failure", ({ detail: message }) => {
    showNotice("unreachable", `${message} The page tries again every few seconds.`, "bad");
    say("Not connected");
  });
}

// A screen reader says what changes only.
function say(text) {
  const state = byId("state");
  if (state.textContent !== text) state.textContent = text;
}
