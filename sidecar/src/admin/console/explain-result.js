// An explanation: the outcome, the steps, the predictions and the models.

import { bar, element, panel, table } from "./dom.js";
import { beginning, count, dollars, things } from "./format.js";
import { renderText } from "./heads.js";

/** What a step says of the way to the decision, by its kind. */
const MARKS = {
  rule: ({ matches }) => (matches === true ? "yes" : matches === false ? "no" : "open"),
  label: ({ models }) => (models ? "yes" : "no"),
  score: ({ models }) => (models ? "yes" : "no"),
  wrong_kind: () => "bad",
  unavailable: () => "bad",
  unable: () => "bad",
  outcome: () => "result",
};

const STANDINGS = {
  chosen: "Chosen",
  next: "Next",
  passed_over: "Passed over",
  unable: "Unable",
  not_considered: "Not considered",
};

/** The outcome in one line. */
export function summaryOf({ outcome }) {
  switch (outcome?.action) {
    case "forward":
      return `Goes to ${outcome.model}, by reason ${outcome.reason}${outcome.label ? `: ${outcome.label}` : ""}.`;
    case "respond":
      return `The router responds with ${outcome.status}: ${errorOf(outcome)}`;
    case "untouched":
      return "Forwarded unchanged: it is not routed.";
    default:
      return "There is no policy: only the predictions are shown.";
  }
}

/** The parts of an explanation. The outline is that of the policy that explained, if there is one. */
export function renderExplanation(explanation, outline) {
  const {
    outcome,
    steps,
    texts,
    models,
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
  } = explanation;
  const parts = [outcome ? renderOutcome(outcome) : renderNoPolicy()];
  if (steps.length > 0) parts.push(panel("Decision, step by step", renderSteps(steps)));
  parts.push(
    panel(
      "Predictions",
      texts.length > 0
        ? texts.map((text) => renderText(text, steps, outline))
        : element("p", {}, "The request has no text that is classified."),
    ),
  );
  if (models.length > 0) parts.push(panel("Models", renderModels(models, promptTokens, completionTokens)));
  return parts;
}

function renderNoPolicy() {
  const text = element(
    "p",
    {},
    "This sidecar was started without --policy: the filter in Envoy has the policy. ",
    element("a", { href: "#policies" }, "Paste it under Policies"),
    " to see decisions.",
  );
  return panel("No policy", text);
}

function renderOutcome(outcome) {
  const notApplied =
    outcome.applied === false
      ? element(
          "p",
          { class: "notice warn" },
          "The policy is in shadow mode: this is only reported, and the request is forwarded unchanged.",
        )
      : null;
  const title = element("h3", {}, "Outcome");
  if (outcome.action === "forward") {
    const facts = [
      ["Reason", outcome.reason],
      ["Policy", outcome.policy],
      ["Label", outcome.label],
      ["Cluster", outcome.cluster],
      ["Upstream model", outcome.upstream_model],
      ["If it fails", outcome.fallbacks.join(", ")],
    ].filter(([, value]) => value);
    const list = facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
    return element(
      "section",
      { class: "panel outcome" },
      title,
      element("p", { class: "model" }, outcome.model),
      element("dl", { class: "facts" }, list),
      notApplied,
    );
  }
  if (outcome.action === "respond") {
    const body = element("pre", {}, JSON.stringify(outcome.body, null, 2));
    return element(
      "section",
      { class: "panel outcome rejected" },
      title,
      element("p", { class: "model" }, `Response ${outcome.status}`),
      element("p", { dir: "auto" }, errorOf(outcome)),
      element("details", {}, element("summary", {}, "Body"), body),
      notApplied,
    );
  }
  return element(
    "section",
    { class: "panel outcome" },
    title,
    element("p", { class: "model" }, "Unchanged"),
    element("p", {}, "The request is not routed. It is forwarded unchanged."),
  );
}

/** What a response of the router says. */
function errorOf({ body }) {
  return body?.error?.message ?? "a response of its own";
}

function renderSteps(steps) {
  const items = steps.map((step) => {
    const mark = MARKS[step.kind]?.(step) ?? "info";
    const text = step.topic === "outcome" ? beginning(step.text, 300) : step.text;
    return element(
      "li",
      { class: `step ${mark}` },
      element("span", { class: "topic" }, step.topic),
      element("span", { class: "text", dir: "auto" }, text),
    );
  });
  return element("ol", { class: "steps" }, items);
}

function renderModels(models, promptTokens, completionTokens) {
  const largest = Math.max(...models.map((model) => model.estimated_cost ?? 0));
  const rows = models.map((model) => {
    const { name, standing, why, prices, estimated_cost: cost } = model;
    return [
      name,
      element("span", { class: `standing ${standing}` }, STANDINGS[standing]),
      why,
      prices ? `$${prices.input} / $${prices.output}` : "no price",
      cost === null ? "–" : [bar(largest > 0 ? cost / largest : 0), " ", dollars(cost)],
    ];
  });
  const columns = [
    { title: "Model", isHeader: true },
    { title: "Standing" },
    { title: "Why", class: "why" },
    { title: "Input / output, per million", number: true },
    { title: "Estimated cost", number: true },
  ];
  const prompt = things(promptTokens, "prompt token", "prompt tokens");
  const tokens = `Estimated for ${prompt} and ${count(completionTokens)} completion tokens.`;
  return [
    table("Models, and why each was chosen or passed over", columns, rows),
    element("p", { class: "hint" }, tokens),
  ];
}
