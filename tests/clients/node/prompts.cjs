// Prompts whose classification is known. Each call returns another prompt.

const { randomUUID } = require("node:crypto");

function labelled(label, wish) {
  const prediction = JSON.stringify({ label, confidence: 0.875 });
  return `Predict: ${prediction}\n(prompt ${randomUUID()}) ${wish}`;
}

// Classified as code.
exports.code = (wish = "") => labelled("Code Generation", wish);

// Classified as small talk.
exports.greeting = (wish = "") => labelled("Chatbot", wish);

exports.user = (content) => ({ role: "user", content });

// The model that responds, and the reason, from the headers of a response.
exports.decision = (response) => [
  response.headers.get("x-llm-router-model"),
  response.headers.get("x-llm-router-reason"),
];
