// Compares two policies on a list of prompts.

import { explain } from "./api.js";
import { renderComparison, summaryOf } from "./compare-result.js";
import { byId, setError } from "./dom.js";
import { FieldError, readTokens, showFieldError } from "./fields.js";
import { count } from "./format.js";
import { chosenPolicy, offerPolicies } from "./policy-store.js";

/** The most prompts of a comparison. */
const MAX_PROMPTS = 200;

/** Prompts that are explained at a time: the sidecar classifies two for operators at a time. */
const AT_ONCE = 2;

let running = null;

/** Connects the view. */
export function startCompare() {
  const form = byId("compare-form");
  byId("compare-hint").textContent =
    `One prompt per line, or JSON Lines with prompt, text, or a request’s messages. At most ${MAX_PROMPTS}.`;
  for (const side of ["a", "b"]) offerPolicies(byId(`compare-${side}`), "As the request says");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  byId("compare-cancel").addEventListener("click", () => running?.abort());
}

function start() {
  for (const field of [byId("compare-text"), byId("compare-tokens")]) setError(field, "");
  try {
    const requests = readRequests(byId("compare-text"));
    const sides = ["a", "b"].map((side) => chosenPolicy(byId(`compare-${side}`)));
    if (sides.some(({ source }) => source === null)) {
      throw new FieldError(byId("compare-text"), "There is no policy to compare: paste one under Policies.");
    }
    run(requests, sides, readTokens(byId("compare-tokens")));
  } catch (error) {
    showFieldError(error);
  }
}

async function run(requests, sides, completionTokens) {
  running?.abort();
  const controller = new AbortController();
  running = controller;
  const rows = requests.map((request) => ({ ...request, results: [null, null], error: null }));
  let done = 0;
  const progress = byId("compare-progress");
  const update = () => {
    progress.value = done;
    if (running === controller) say(`Compared ${count(done)} of ${count(rows.length)} prompts…`);
  };
  byId("compare-cancel").disabled = false;
  byId("compare-output").replaceChildren();
  progress.max = rows.length;
  progress.hidden = false;
  update();
  const left = rows.values();
  const work = async () => {
    for (const row of left) {
      await compareOne(row, sides, completionTokens, controller.signal);
      if (controller.signal.aborted) return;
      done += 1;
      update();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (running !== controller) return;
  running = null;
  byId("compare-cancel").disabled = true;
  progress.hidden = true;
  const finished = rows.filter(({ results, error }) => error || results.every(Boolean));
  byId("compare-output").replaceChildren(...renderComparison(finished));
  const cancelled = controller.signal.aborted
    ? `Cancelled after ${count(finished.length)} of ${count(rows.length)} prompts. `
    : "";
  say(cancelled + summaryOf(finished));
}

async function compareOne(row, sides, completionTokens, signal) {
  try {
    for (const [index, { headers, text: policy }] of sides.entries()) {
      const input = { request: row.request, headers, policy, completion_tokens: completionTokens };
      row.results[index] = await explain(input, signal);
    }
  } catch (error) {
    if (error.name !== "AbortError") row.error = error.message;
  }
}

/** The requests of the list, each with the text that the table shows. */
function readRequests(field) {
  const lines = field.value
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
  if (lines.length === 0) throw new FieldError(field, "Paste some prompts.");
  if (lines.length > MAX_PROMPTS)
    throw new FieldError(field, `${count(lines.length)} prompts: the maximum is ${MAX_PROMPTS}.`);
  return lines.map((line, index) => requestOf(line, index + 1, field));
}

function requestOf(line, number, field) {
  if (!line.startsWith("{")) return ofPrompt(line);
  let value;
  try {
    value = JSON.parse(line);
  } catch {
    // A prompt may begin with a brace, too.
    return ofPrompt(line);
  }
  const prompt = value.prompt ?? value.text;
  if (typeof prompt === "string") return ofPrompt(prompt);
  if (!Array.isArray(value.messages))
    throw new FieldError(field, `Line ${number} has neither prompt, text nor messages.`);
  const last = value.messages.findLast?.((message) => message?.role === "user")?.content;
  return { text: typeof last === "string" ? last : line, request: value };
}

function ofPrompt(prompt) {
  return { text: prompt, request: { model: "auto", messages: [{ role: "user", content: prompt }] } };
}

function say(text) {
  byId("compare-status").textContent = text;
}
