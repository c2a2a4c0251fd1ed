// OpenAI's client for Node.

const assert = require("node:assert/strict");
const { test } = require("node:test");
const OpenAI = require("openai");
const { zodResponseFormat } = require("openai/helpers/zod");
const { z } = require("zod");
const { code, decision, greeting, user } = require("./prompts.cjs");

const client = new OpenAI({ baseURL: `${process.env.GATEWAY_URL}/v1`, apiKey: "a-key", maxRetries: 0 });

const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

test("a completion comes from the model that the router chose", async () => {
  for (const [prompt, model] of [[code(), "nemotron"], [greeting(), "llama-8b"]]) {
    const request = { model: "auto", messages: [user(prompt)] };
    const { data, response } = await client.chat.completions.create(request).withResponse();
    assert.deepEqual(decision(response), [model, "classified"]);
    assert.equal(data.choices[0].message.content, `This is ${model}.`);
  }
});

test("chunks of a stream assemble to the completion", async () => {
  const stream = await client.chat.completions.create({ model: "auto", messages: [user(code())], stream: true });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  assert.equal(text, "This is nemotron.");
});

test("tools run until the model is done, in a stream too", async () => {
  const cities = [];
  const tool = {
    type: "function",
    function: { name: "get_weather", parameters, parse: JSON.parse, function: ({ city }) => cities.push(city) },
  };
  for (const stream of [false, true]) {
    const messages = [user(code("Call get_weather 3 times."))];
    const runner = client.chat.completions.runTools({ model: "auto", messages, tools: [tool], stream });
    assert.equal(await runner.finalContent(), "This is nemotron.");
  }
  assert.deepEqual(cities, Array(6).fill("text"));
});

test("a structured answer is parsed by its schema", async () => {
  const format = zodResponseFormat(z.object({ name: z.string(), days: z.array(z.number()) }), "event");
  const completion = await client.chat.completions.parse({
    model: "auto",
    messages: [user(code())],
    response_format: format,
  });
  assert.deepEqual(completion.choices[0].message.parsed, { name: "text", days: [1.5] });
});

test("responses are routed, whole and as a stream", async () => {
  const { data, response } = await client.responses.create({ model: "auto", input: code() }).withResponse();
  assert.deepEqual(decision(response), ["nemotron", "classified"]);
  assert.equal(data.output_text, "This is nemotron.");
  const stream = client.responses.stream({ model: "auto", input: greeting() });
  assert.equal((await stream.finalResponse()).output_text, "This is llama-8b.");
});

test("a function call of a response is assembled from a stream", async () => {
  const tools = [{ type: "function", name: "get_weather", parameters, strict: true }];
  const stream = client.responses.stream({ model: "auto", input: code("Call get_weather."), tools });
  const [call] = (await stream.finalResponse()).output;
  assert.deepEqual([call.type, JSON.parse(call.arguments)], ["function_call", { city: "text" }]);
});

test("embeddings arrive as the client decodes them", async () => {
  const { data } = await client.embeddings.create({ model: "llama-70b", input: ["a text", "another"] });
  assert.equal(data.length, 2);
  assert.deepEqual(data[0].embedding.map((number) => number.toFixed(3)), ["0.600", "0.800"]);
});

test("the list of models has every name that a client may send", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  for (const name of ["auto", "llama-8b", "claude-deep", "gpt-4o"]) assert.ok(names.includes(name), name);
});

test("errors are the client's classes", async () => {
  const ask = (model, options) => client.chat.completions.create({ model, messages: [user(code())] }, options);
  await assert.rejects(ask("no-such-model"), OpenAI.NotFoundError);
  await assert.rejects(ask("claude-deep"), OpenAI.BadRequestError);
  await assert.rejects(ask("auto", { headers: { "x-test-fails": "nemotron:429" } }), OpenAI.RateLimitError);
});
