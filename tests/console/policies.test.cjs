// Policies as pictures, and policies that are pasted.

const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const path = require("node:path");
const { after, before, test } = require("node:test");
const { REPO, explain, startBrowser, startSidecar, withPage } = require("./world.cjs");

let withPolicy;
let withoutPolicy;
let browser;

before(async () => {
  withPolicy = await startSidecar();
  withoutPolicy = await startSidecar([]);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await withPolicy?.stop();
  await withoutPolicy?.stop();
});

const example = (name) => readFileSync(path.join(REPO, "docs/examples", name), "utf8");

async function paste(page, policy) {
  const text = page.getByRole("textbox", { name: "Policy (YAML or JSON)" });
  if (!(await text.isVisible())) await page.getByText("Paste a policy").first().click();
  await text.fill(policy);
  await page.getByRole("button", { name: "Use this policy" }).click();
}

test("the sidecar's policy is a picture with the same content as its table", () =>
  withPage(browser, withPolicy, "policies", async (page) => {
    const picture = page.getByRole("img", { name: /^tasks: / });
    await picture.waitFor();
    const description = await picture.getAttribute("aria-label");
    assert.match(description, /Code Generation to coder; /);
    assert.match(description, /Summarization to small 90 %, large 10 %/);
    assert.match(description, /everything else to small$/);
    assert.match(
      await page.getByRole("img", { name: /^levels: / }).getAttribute("aria-label"),
      /0 to 0\.2 to small; 0\.2 to 0\.5 to large; above 0\.5 to coder/,
    );
    assert.match(
      await page.locator("#policies-status").textContent(),
      /^4 policies, 4 models, 3 rules\. Default policy tasks/,
    );
    await page.getByText("As a table").first().click();
    assert.equal(await page.getByRole("table", { name: "Routes of tasks" }).getByRole("row").count(), 7);
    assert.match(await page.getByRole("table", { name: /^Rules/ }).textContent(), /x-tenant: acme/);
    const models = await page.getByRole("table", { name: "Models of the policies" }).textContent();
    assert.ok(
      models.includes("vendor/coder-49b") && models.includes("metadata.key") && !models.includes("hidden-value"),
    );
  }));

test("a pasted policy is shown, and explains", () =>
  withPage(browser, withoutPolicy, "policies", async (page) => {
    page.expectStatus(404);
    page.expectStatus(400);
    await page.getByText("This sidecar was started without --policy").waitFor();
    await paste(page, "policies: {}");
    await page.getByText("policy: ", { exact: false }).filter({ hasText: "missing field" }).waitFor();
    await paste(page, example("two-models.yaml"));
    await page.getByRole("img", { name: /^complexity_router: / }).waitFor();

    await page.getByRole("link", { name: "Explain" }).click();
    await explain(page, "Hi");
    assert.match(await page.locator("#explain-status").textContent(), /^Goes to (small|large)/);
    await page.getByRole("link", { name: "Policies" }).click();
    await page.getByRole("button", { name: "Remove it" }).click();
    await page.getByText("This sidecar was started without --policy").waitFor();
  }));

test("without any policy, the predictions are shown", () =>
  withPage(browser, withoutPolicy, "explain", async (page) => {
    page.expectStatus(404);
    await explain(page, "Write a Python function.");
    assert.match(await page.locator("#explain-status").textContent(), /no policy/);
    await page.getByRole("table", { name: "Prediction of task" }).waitFor();
    await page.getByRole("link", { name: "Paste it under Policies" }).click();
    assert.ok(
      await page.getByRole("heading", { name: "Policies" }).evaluate((node) => node === document.activeElement),
    );
  }));

test("hostile names in a pasted policy are text, and the sidecar's own can be shown again", () =>
  withPage(browser, withPolicy, "policies", async (page) => {
    const label = "<img src=x onerror=document.title='owned'>";
    const hostile = {
      sidecar: { cluster: "c" },
      default_policy: "p",
      models: { m: { cluster: "c", model: "<b>m</b>" } },
      policies: { p: { classifier: "task", routes: { [label]: "m" }, default: "m" } },
    };
    await paste(page, JSON.stringify(hostile));
    const picture = page.getByRole("img", { name: /^p: / });
    await picture.waitFor();
    assert.ok((await picture.getAttribute("aria-label")).includes(label));
    assert.equal(await page.locator("main img").count(), 0);
    assert.match(await page.title(), /LLM router console$/);
    await page.getByRole("radio", { name: "Sidecar’s policy" }).check();
    await page.getByRole("img", { name: /^tasks: / }).waitFor();
  }));
