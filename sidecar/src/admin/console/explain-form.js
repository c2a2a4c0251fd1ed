// The form that explains a prompt or a request.

import { ApiError, explain } from "./api.js";
import { byId, element, setError } from "./dom.js";
import { renderExplanation, summaryOf } from "./explain-result.js";
import { FieldError, readTokens, showFieldError } from "./fields.js";
import { chosenPolicy, offerPolicies, store } from "./policy-store.js";

const EXAMPLES = [
  "Write a Python function that merges two sorted lists into one.",
  "Hi there! How are you doing today?",
  "Summarize this article in one sentence: The council met on Tuesday to discuss the bridge.",
];

const KINDS = {
  prompt: { label: "Prompt", hint: "The text of the user’s message.", example: "" },
  request: {
    label: "Request body (JSON)",
    hint: "As the client sends it: with model, messages, tools and so on.",
    example: JSON.stringify(
      { model: "auto", messages: [{ role: "user", content: EXAMPLES[0] }], max_tokens: 200 },
      null,
      2,
    ),
  },
};

let running = null;
let kind = "prompt";
/** What was typed for the other kind of input. */
const texts = { prompt: KINDS.prompt.example, request: KINDS.request.example };

/** Connects the form. */
export function startExplain() {
  const form = byId("explain-form");
  offerPolicies(byId("explain-policy"), "As the request says");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  for (const radio of form.elements.kind) radio.addEventListener("change", () => choose(radio.value));
  const examples = EXAMPLES.map((text) =>
    element("li", {}, element("button", { type: "button", onclick: () => tryExample(text) }, text)),
  );
  byId("explain-examples")
    .querySelector("ul")
    .append(...examples);
  // A browser may restore the choice after a reload.
  choose(form.elements.kind.value);
}

function choose(chosen) {
  const text = byId("explain-text");
  texts[kind] = text.value || texts[kind];
  if (chosen !== kind) text.value = texts[chosen];
  kind = chosen;
  byId("explain-text-label").textContent = KINDS[kind].label;
  byId("explain-text-hint").textContent = KINDS[kind].hint;
  text.classList.toggle("code", kind === "request");
  byId("explain-examples").hidden = kind !== "prompt";
  setError(text, "");
}

function tryExample(text) {
  byId("explain-text").value = text;
  run();
}

async function run() {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  for (const name of ["text", "tokens", "headers"]) setError(byId(`explain-${name}`), "");
  let input;
  try {
    input = read();
  } catch (error) {
    showFieldError(error);
    return;
  }
  const { source } = chosenPolicy(byId("explain-policy"));
  say("Explaining…");
  try {
    const explanation = await explain(input, signal);
    byId("explain-output").replaceChildren(...renderExplanation(explanation, store.outline(source)));
    say(summaryOf(explanation));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof ApiError)) throw error;
    byId("explain-output").replaceChildren(element("p", { class: "notice bad" }, error.message));
    say("There is no explanation.");
  }
}

function read() {
  const policy = chosenPolicy(byId("explain-policy"));
  return {
    request: readRequest(),
    path: byId("explain-path").value.trim() || "/v1/chat/completions",
    headers: { ...readHeaders(), ...policy.headers },
    policy: policy.text,
    completion_tokens: readTokens(byId("explain-tokens")),
  };
}

function readRequest() {
  const field = byId("explain-text");
  const text = field.value;
  if (!text.trim()) throw new FieldError(field, kind === "prompt" ? "Type a prompt." : "Paste a request’s body.");
  if (kind === "prompt") return { model: "auto", messages: [{ role: "user", content: text }] };
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FieldError(field, `This is not JSON: ${error.message}`);
  }
}

function readHeaders() {
  const field = byId("explain-headers");
  const headers = {};
  for (const line of field.value.split("\n").filter((line) => line.trim())) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim();
    if (colon < 1 || !name) throw new FieldError(field, `“${line.trim()}” is not a name, a colon and a value.`);
    headers[name.toLowerCase()] = line.slice(colon + 1).trim();
  }
  return headers;
}

function say(text) {
  byId("explain-status").textContent = text;
}
