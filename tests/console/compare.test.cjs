// Two policies on a list of prompts.

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { sharedPages } = require("./world.cjs");

const onPage = sharedPages();

const comparing = (name, run) => test(name, () => onPage("compare", run));

async function compare(page, a, b, prompts) {
  await page.getByRole("combobox", { name: "Policy A" }).selectOption(a);
  await page.getByRole("combobox", { name: "Policy B" }).selectOption(b);
  await page.getByRole("textbox", { name: "Prompts" }).fill(prompts.join("\n"));
  await page.getByRole("button", { name: "Compare", exact: true }).click();
}

const status = (page) => page.locator("#compare-status");
const prompts = Array.from({ length: 12 }, (_, index) => `Prompt number ${index}`);

comparing("policies that always differ agree on nothing, and the costs show it", async (page) => {
  await compare(page, "always_small", "always_large", prompts);
  await status(page).getByText("Both agree on 0 of 12 prompts (0 %).").waitFor();
  const split = page.getByRole("table", { name: /Requests by model/ });
  assert.match(await split.getByRole("row", { name: /^small/ }).textContent(), /12 \(100 %\).*0 \(0 %\)/);
  const cost = (await split.getByRole("row", { name: /^Estimated cost/ }).textContent())
    .match(/\$[\d.]+/g)
    .map((text) => Number(text.slice(1)));
  assert.ok(cost[1] > cost[0] * 8 && cost[0] > 0, String(cost));
  assert.match(await page.locator("#compare-output .hint").textContent(), /B costs \$[\d.]+ more/);
  assert.equal(await page.getByRole("table", { name: "Each prompt by both policies" }).getByRole("row").count(), 13);
});

comparing("a policy agrees with itself, rejections included", async (page) => {
  const mixed = [
    ...prompts,
    "this is forbidden",
    '{"prompt": "of JSON"}',
    '{"messages": [{"role": "user", "content": "a chat"}]}',
    "{not JSON",
    "<img src=x onerror=alert(1)>",
  ];
  await compare(page, "As the request says (tasks)", "As the request says (tasks)", mixed);
  await status(page).getByText("Both agree on 17 of 17 prompts (100 %).").waitFor();
  const all = page.getByRole("table", { name: "Each prompt by both policies" });
  assert.match(await all.getByRole("row", { name: /forbidden/ }).textContent(), /rejected \(403\).*rejected \(403\)/);
  for (const text of ["of JSON", "a chat", "{not JSON", "<img src=x"])
    assert.equal(await all.getByText(text).count(), 1, text);
  await page.getByRole("checkbox", { name: "Only differences" }).check();
  assert.equal(await all.getByRole("row").count(), 1);
});

comparing("a comparison can be cancelled, and keeps what is done", async (page) => {
  await compare(
    page,
    "tasks",
    "levels",
    Array.from({ length: 200 }, (_, index) => `A prompt of its own, number ${index}`),
  );
  await status(page)
    .getByText(/^Compared [1-9]/)
    .waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await status(page)
    .getByText(/^Cancelled after \d+ of 200 prompts\. Both agree/)
    .waitFor();
  const done = Number((await status(page).textContent()).match(/after (\d+)/)[1]);
  assert.ok(done >= 1 && done < 200, String(done));
  assert.equal(
    await page.getByRole("table", { name: "Each prompt by both policies" }).getByRole("row").count(),
    done + 1,
  );
  assert.ok(await page.getByRole("button", { name: "Cancel" }).isDisabled());
});

comparing("too many prompts and none are errors", async (page) => {
  await compare(
    page,
    "tasks",
    "levels",
    Array.from({ length: 201 }, () => "x"),
  );
  await page.getByText("201 prompts: the maximum is 200.").waitFor();
  await compare(page, "tasks", "levels", []);
  await page.getByText("Paste some prompts.").waitFor();
  await compare(page, "tasks", "levels", ['{"nothing": 1}']);
  await page.getByText("Line 1 has neither prompt, text nor messages.").waitFor();
});
