// Anthropic's client for Node, with which coding agents are built.

const assert = require("node:assert/strict");
const { test } = require("node:test");
const Anthropic = require("@anthropic-ai/sdk");
const { code, decision, greeting, user } = require("./prompts.cjs");

const client = new Anthropic({ baseURL: process.env.GATEWAY_URL, apiKey: "a-key", maxRetries: 0 });

test("a message comes from the model that the router chose", async () => {
  for (const [prompt, model] of [[code(), "claude-deep"], [greeting(), "claude-fast"]]) {
    const request = { model: "auto", max_tokens: 100, messages: [user(prompt)] };
    const { response } = await client.messages.create(request).withResponse();
    assert.deepEqual(decision(response), [model, "classified"]);
  }
});

test("a stream with thinking and a call of a tool assembles to the message", async () => {
  const tool = { name: "read_file", input_schema: { type: "object", properties: { path: { type: "string" } } } };
  const messages = [user(code("Call read_file."))];
  const request = {
    model: "auto",
    max_tokens: 4096,
    messages,
    tools: [tool],
    thinking: { type: "enabled", budget_tokens: 1024 },
  };
  const first = await client.messages.stream(request).finalMessage();
  assert.deepEqual(first.content.map((block) => block.type), ["thinking", "tool_use"]);
  const [, use] = first.content;
  assert.deepEqual(use.input, { path: "text" });
  messages.push({ role: "assistant", content: first.content });
  messages.push(user([{ type: "tool_result", tool_use_id: use.id, content: "It is empty." }]));
  const last = await client.messages.stream(request).finalMessage();
  assert.equal(last.content.at(-1).text, "This is nemotron.");
});

test("errors are the client's classes", async () => {
  const ask = (model) => client.messages.create({ model, max_tokens: 100, messages: [user("Hi")] });
  await assert.rejects(ask("no-such-model"), Anthropic.NotFoundError);
  await assert.rejects(ask("llama-70b"), Anthropic.BadRequestError);
});
