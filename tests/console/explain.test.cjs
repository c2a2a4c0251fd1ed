// Prompts and requests that are explained.

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { explain, explained, sharedPages } = require("./world.cjs");

const onPage = sharedPages();

const explaining = (name, run) => test(name, () => onPage("explain", run));

explaining("a prompt is explained with its decision, predictions and costs", async (page) => {
  await page.getByRole("textbox", { name: "Prompt" }).fill("Write a Python function that merges two sorted lists.");
  await page.keyboard.press("Control+Enter");
  await explained(page);
  assert.match(await page.locator("#explain-status").textContent(), /^Goes to \w+, by reason \w+/);
  const chosen = await page.locator(".outcome .model").textContent();

  const steps = await page.locator(".step").allTextContents();
  for (const topic of ["requires", "client", "rule", "policy", "prompt", "classifier", "candidate", "outcome", "set"]) {
    assert.ok(
      steps.some((step) => step.startsWith(topic)),
      `${topic}: ${steps}`,
    );
  }
  assert.ok(!steps.join().includes("hidden-value"));

  const task = page.getByRole("table", { name: "Prediction of task" });
  assert.equal(await task.getByRole("row").count(), 6, "five labels, and the head of the table");
  assert.match(await task.getByRole("row").nth(1).textContent(), /[01]\.\d{3}$/);
  assert.equal(await page.locator(".head", { hasText: "decides" }).getByRole("heading").textContent(), "task decides");
  await page.getByText("7 more").first().click();
  assert.equal(await page.getByRole("table", { name: "task: the others" }).getByRole("row").count(), 8);
  assert.match(await page.locator(".text-heads .hint").first().textContent(), /tokens read, in .* ms/);

  const models = page.getByRole("table", { name: /Models, and why/ }).getByRole("row");
  assert.equal(await models.count(), 5);
  assert.match(await models.nth(1).textContent(), new RegExp(`^${chosen}Chosen`));
});

explaining("costs follow the assumed completion tokens", async (page) => {
  const costs = async (tokens) => {
    await page.getByRole("spinbutton", { name: "Assumed completion tokens" }).fill(tokens);
    await explain(page, "Hi");
    const row = page.getByRole("row", { name: /^large/ });
    return Number((await row.getByRole("cell").last().textContent()).replace("$", ""));
  };
  const [few, many] = [await costs("0"), await costs("1000000")];
  assert.ok(few < 0.001 && many >= 0.8 && many < 0.81, `${few} ${many}`);
  await page.getByRole("spinbutton", { name: "Assumed completion tokens" }).fill("-1");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.getByText("A whole number from 0 to 1,000,000.").waitFor();
});

const HOSTILE = [
  "<img src=x onerror=\"document.title='owned'\">",
  "</textarea><script>document.title='owned'</script>",
  "<svg/onload=document.title='owned'>",
  "javascript:document.title='owned' {{7*7}} ${7*7} %00 \u202e evil \u0007",
];

explaining("hostile prompts are text", async (page) => {
  const images = await page.locator("img").count();
  for (const prompt of HOSTILE) {
    await explain(page, prompt);
    assert.equal(await page.locator("blockquote").first().textContent(), prompt);
    assert.equal(await page.locator("img").count(), images, "no image was made");
    assert.equal(await page.locator("main script").count(), 0);
    assert.match(await page.title(), /LLM router console$/);
  }
});

explaining("a prompt of 100 KB and one from right to left are shown", async (page) => {
  await explain(page, "word ".repeat(20_000));
  assert.match(await page.locator(".text-heads .hint").first().textContent(), /of (about )?[\d,]+ tokens read/);
  const shown = await page.locator("blockquote").first().textContent();
  assert.ok(shown.startsWith("word word") && shown.endsWith("…") && shown.length < 500);
  await explain(page, "اكتب قصة قصيرة عن حارس منارة");
  const direction = await page
    .locator("blockquote")
    .first()
    .evaluate((node) => getComputedStyle(node).direction);
  assert.equal(direction, "rtl");
});

explaining("a prompt that is too long for the API is an error", async (page) => {
  await explain(page, "x".repeat(1 << 20));
  assert.match(await page.locator("#explain-output").textContent(), /longer than 1 MiB/);
});

const body = (page) => page.getByRole("textbox", { name: "Request body (JSON)" });

explaining("a pasted request is explained with what it requires", async (page) => {
  await page.getByRole("radio", { name: "Request body" }).check();
  assert.match(await body(page).inputValue(), /"messages"/);
  const request = {
    model: "tasks",
    messages: [{ role: "user", content: "Hi" }],
    tools: [{ type: "function", function: { name: "f" } }],
  };
  await body(page).fill(JSON.stringify(request));
  await page.getByRole("button", { name: "Explain" }).click();
  await explained(page);
  const steps = (await page.locator(".step").allTextContents()).join("\n");
  assert.match(steps, /tools/);
  assert.match(steps, /model "tasks": the policy tasks/);
  assert.match(await page.getByRole("row", { name: /^small/ }).textContent(), /does not support the capability tools/);
  await page.getByRole("radio", { name: "Prompt" }).check();
  assert.equal(await page.getByRole("textbox", { name: "Prompt" }).inputValue(), "");
});

explaining("what is not JSON leads back to the field", async (page) => {
  await page.getByRole("radio", { name: "Request body" }).check();
  await body(page).fill("{");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.getByText("This is not JSON").waitFor();
  assert.equal(await body(page).getAttribute("aria-invalid"), "true");
  assert.ok(await body(page).evaluate((node) => node === document.activeElement));
});

explaining("a rejected request shows the response that the client gets", async (page) => {
  await explain(page, "This is FORBIDDEN");
  assert.equal(await page.locator(".outcome .model").textContent(), "Response 403");
  assert.match(await page.locator(".outcome").textContent(), /This request is not allowed here\./);
  assert.equal(await page.getByRole("row", { name: /Chosen/ }).count(), 0);
});

explaining("headers and the policy count", async (page) => {
  await page.getByText("Path and headers").click();
  await page.getByRole("textbox", { name: /^Headers/ }).fill("x-tenant: acme");
  await explain(page, "Hi");
  assert.equal(await page.locator(".outcome .model").textContent(), "large");
  await page.getByRole("textbox", { name: /^Headers/ }).fill("nothing");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.getByText("is not a name, a colon and a value").waitFor();
  await page.getByRole("textbox", { name: /^Headers/ }).fill("");
  await page.getByRole("combobox", { name: "Policy" }).selectOption("always_small");
  await explain(page, "Hi");
  assert.equal(await page.locator(".outcome .model").textContent(), "small");
  assert.equal(await page.locator(".head", { hasText: "decides" }).getByText("Bounds of the bands: 1").count(), 1);
});
