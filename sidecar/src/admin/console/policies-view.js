// The view of policies: a picture of each, the rules before them, and the models.

import { ApiError } from "./api.js";
import { byId, element, panel, setError, table } from "./dom.js";
import { bound, count, things } from "./format.js";
import { drawPolicy, targetText } from "./picture.js";
import { store } from "./policy-store.js";

/** Redraws the pictures where the page's width changes. */
const drawings = new Map();
const resized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const drawing = drawings.get(target);
    if (drawing && contentRect.width > 0 && Math.abs(contentRect.width - drawing.width) > 1)
      draw(target, contentRect.width);
  }
});

/** Connects the view. */
export function startPolicies() {
  byId("paste-form").addEventListener("submit", (event) => {
    event.preventDefault();
    paste();
  });
  byId("paste-clear").addEventListener("click", () => {
    byId("paste-text").value = "";
    setError(byId("paste-text"), "");
    store.clear();
  });
  for (const radio of sources()) radio.addEventListener("change", render);
  store.addEventListener("change", () => {
    const missing = store.own === null && store.pasted === null;
    byId("paste-panel").open ||= missing;
    for (const radio of sources()) radio.disabled = !store.outline(radio.value);
    const checked =
      sources().find((radio) => radio.checked && !radio.disabled) ?? sources().find((radio) => !radio.disabled);
    if (checked) checked.checked = true;
    render();
  });
  render();
}

function sources() {
  return [...byId("policies-source").querySelectorAll("input")];
}

async function paste() {
  const field = byId("paste-text");
  setError(field, field.value.trim() ? "" : "Paste a policy.");
  if (!field.value.trim()) return field.focus();
  try {
    const pasted = sources().find(({ value }) => value === "pasted");
    await store.paste(field.value);
    pasted.checked = true;
    render();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    setError(field, error.message);
    field.focus();
  }
  return undefined;
}

function render() {
  const source = sources().find((radio) => radio.checked)?.value ?? "sidecar";
  const outline = store.outline(source);
  for (const target of drawings.keys()) resized.unobserve(target);
  drawings.clear();
  byId("policies-source").hidden = !(store.own && store.pasted);
  byId("policies-status").textContent = outline ? summaryOf(outline) : missingText();
  byId("policies-output").replaceChildren(...(outline ? renderOutline(outline) : []));
}

function missingText() {
  if (store.own === undefined) return "The sidecar’s policy is being loaded.";
  return "This sidecar was started without --policy: the filter in Envoy has the policy. Paste it to see it here.";
}

function summaryOf({ mode, default_policy: name, policies, models, rules, on_unknown_model: unknown }) {
  const parts = [
    things(policies.length, "policy", "policies"),
    things(models.length, "model", "models"),
    things(rules.length, "rule", "rules"),
  ];
  const shadow = mode === "shadow" ? " In shadow mode: decisions are reported, not carried out." : "";
  return `${parts.join(", ")}. Default policy ${name}; unknown models: ${unknown}.${shadow}`;
}

function renderOutline(outline) {
  const parts = [];
  if (outline.rules.length > 0) parts.push(panel("Rules", renderRules(outline.rules)));
  const isDefault = ({ name }) => name === outline.default_policy;
  const policies = [...outline.policies].sort((one, other) => isDefault(other) - isDefault(one));
  parts.push(
    element(
      "div",
      { class: "pictures" },
      policies.map((policy) => renderPolicy(policy, outline)),
    ),
  );
  parts.push(panel("Models", renderModels(outline)));
  return parts;
}

function renderRules(rules) {
  const columns = [
    { title: "#", number: true },
    { title: "Name", isHeader: true },
    { title: "When", class: "why" },
    { title: "Then", class: "why" },
  ];
  const rows = rules.map(({ name, when, then }, index) => [String(index + 1), name, when, then]);
  return table("Rules: the first that matches counts", columns, rows);
}

function renderPolicy(policy, outline) {
  const isDefault = policy.name === outline.default_policy;
  const title = element("h3", {}, policy.name, " ", isDefault ? element("span", { class: "badge" }, "default") : null);
  const facts = [`By classifier ${policy.classifier}.`];
  if (policy.min_confidence) facts.push(`Labels below ${bound(policy.min_confidence)} take the default.`);
  if (policy.candidate) facts.push(`Compared with its candidate ${policy.candidate}.`);
  const canvas = element("div", { class: "picture" });
  drawings.set(canvas, { policy, models: outline.models, width: 0 });
  resized.observe(canvas);
  const fallbacks =
    policy.fallbacks.length > 0
      ? element("p", { class: "hint" }, `If the chosen model cannot take a request: ${policy.fallbacks.join(" → ")}`)
      : null;
  const details = element("details", {}, element("summary", {}, "As a table"), routesTable(policy));
  return element("section", { class: "panel" }, title, element("p", {}, facts.join(" ")), canvas, fallbacks, details);
}

function draw(canvas, width) {
  const drawing = drawings.get(canvas);
  drawing.width = width;
  canvas.replaceChildren(drawPolicy(drawing.policy, drawing.models, Math.floor(width)));
}

function routesTable(policy) {
  const columns = [
    { title: policy.routes[0]?.label === undefined ? "Score" : "Label", isHeader: true },
    { title: "Model" },
  ];
  const rows = policy.routes.map((route) => [routeText(route), targetText(route.models)]);
  rows.push(["everything else", targetText(policy.default)]);
  for (const [name, model] of Object.entries(policy.classes)) rows.push([`class ${name}, if a client names it`, model]);
  return table(`Routes of ${policy.name}`, columns, rows);
}

/** A label or a band in words. */
function routeText({ label, above, up_to: upTo, examples }) {
  if (label !== undefined) return examples ? `${label} (${things(examples, "example", "examples")})` : label;
  if (above === undefined) return upTo === undefined ? "any score" : `up to ${bound(upTo)}`;
  return upTo === undefined ? `above ${bound(above)}` : `above ${bound(above)} up to ${bound(upTo)}`;
}

function renderModels({ models, aliases }) {
  const columns = [
    { title: "Model", isHeader: true },
    { title: "Cluster" },
    { title: "Upstream model" },
    { title: "API" },
    { title: "Capabilities" },
    { title: "Context", number: true },
    { title: "Input / output, per million", number: true },
    { title: "Aliases" },
    { title: "Edits of bodies" },
  ];
  const rows = models.map((model) => [
    model.name,
    model.cluster,
    model.upstream_model,
    model.api,
    model.capabilities === null ? "not declared" : model.capabilities.join(", ") || "none",
    model.context === null ? "–" : count(model.context),
    model.prices ? `$${model.prices.input} / $${model.prices.output}` : "–",
    Object.entries(aliases)
      .filter(([, name]) => name === model.name)
      .map(([alias]) => alias)
      .join(", "),
    model.edited_members.join(", "),
  ]);
  return table("Models of the policies", columns, rows);
}
