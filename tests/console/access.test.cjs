// The console by keyboard, with a screen reader, in light and dark, wide and narrow; with screenshots of all that.

const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const { test } = require("node:test");
const { explain, explained, screenshot, sharedPages } = require("./world.cjs");

const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const PROMPT = "Write a Python function that merges two sorted lists into one.";
const VIEWS = ["explain", "policies", "compare", "live"];
const SCHEMES = ["light", "dark"];
const WIDTHS = { wide: 1280, narrow: 360 };

const onPage = sharedPages();

/** Fills a view with what it can show. */
const FILL = {
  explain: (page) => explain(page, PROMPT),
  policies: (page) => page.getByRole("img", { name: /^tasks: / }).waitFor(),
  compare: async (page) => {
    await page.getByRole("combobox", { name: "Policy B" }).selectOption("levels");
    await page
      .getByRole("textbox", { name: "Prompts" })
      .fill([PROMPT, "Hi!", "This is forbidden", "Why is the sky blue?"].join("\n"));
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    await page.getByText(/^Both agree/).waitFor();
  },
  live: async (page) => {
    await page.getByRole("table", { name: "Requests by outcome" }).waitFor();
    await page.waitForFunction(() => document.querySelector(".chart .line")?.getAttribute("d").includes("L"));
  },
};

/** What axe-core finds, in short. The content security policy lets only the test run it in the page. */
async function violations(page) {
  await page.evaluate(AXE);
  const { violations: found } = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ["violations"] }),
  );
  return found.map(
    ({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`,
  );
}

for (const view of VIEWS) {
  for (const scheme of SCHEMES) {
    for (const [size, width] of Object.entries(WIDTHS)) {
      test(`${view} is accessible, ${scheme} and ${size}`, () =>
        onPage(
          view,
          async (page) => {
            await FILL[view](page);
            await screenshot(page, `${view}-${scheme}-${size}`);
            assert.deepEqual(await violations(page), []);
            const overflow = await page.evaluate(
              () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
            );
            assert.equal(overflow, 0, "nothing is wider than the page");
          },
          { colorScheme: scheme, viewport: { width, height: 900 } },
        ));
    }
  }
}

test("a rejection and the error of a field are accessible", () =>
  onPage("explain", async (page) => {
    await explain(page, "This is forbidden");
    await page.getByRole("radio", { name: "Request body" }).check();
    await page.getByRole("textbox", { name: "Request body (JSON)" }).fill("{");
    await page.getByRole("button", { name: "Explain" }).click();
    await page.getByText("This is not JSON").waitFor();
    await screenshot(page, "rejected-light-wide");
    assert.deepEqual(await violations(page), []);
  }));

test("at 200 % zoom nothing is cut off", () =>
  onPage(
    "explain",
    async (page) => {
      await explain(page, PROMPT);
      const overflow = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.equal(overflow, 0);
    },
    { viewport: { width: 640, height: 450 }, deviceScaleFactor: 2 },
  ));

test("nothing moves for people who asked for that", () =>
  onPage(
    "explain",
    async (page) => {
      await explain(page, PROMPT);
      const moving = await page.evaluate(
        () =>
          [...document.querySelectorAll("*")].filter((node) => getComputedStyle(node).transitionDuration !== "0s")
            .length,
      );
      assert.equal(moving, 0);
    },
    { reducedMotion: "reduce" },
  ));

/** The name of the focused element, whose focus must be visible. */
async function focused(page) {
  const { name, outline, isVisible } = await page.evaluate(() => {
    const node = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(node);
    const box = node.getBoundingClientRect();
    const label = node.labels?.[0]?.textContent ?? node.getAttribute("aria-label") ?? node.textContent;
    const onScreen = box.width > 0 && box.bottom > 0 && box.top < innerHeight;
    return { name: label.trim(), outline: outlineStyle !== "none" && outlineWidth !== "0px", isVisible: onScreen };
  });
  assert.ok(outline, `${name} has a visible focus`);
  assert.ok(isVisible, `${name} is on the screen`);
  return name;
}

/** Presses Tab until this has the focus. */
async function tabTo(page, wanted) {
  const names = [];
  for (let steps = 0; steps < 40; steps += 1) {
    await page.keyboard.press("Tab");
    const name = await focused(page);
    names.push(name);
    if (wanted.test(name)) return;
  }
  assert.fail(`no ${wanted} in ${names.join(" · ")}`);
}

test("everything can be done by keyboard", () =>
  onPage("explain", async (page) => {
    await page.keyboard.press("Tab");
    assert.equal(await focused(page), "Skip to content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "content");
    await tabTo(page, /^Prompt/);
    await page.keyboard.press("ArrowRight");
    await tabTo(page, /^Request body \(JSON\)$/);
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("ArrowLeft");
    await tabTo(page, /^Prompt$/);
    await page.keyboard.type("Why is the sky blue?");
    await tabTo(page, /^Policy$/);
    await page.keyboard.press("ArrowDown");
    await tabTo(page, /^Explain$/);
    await page.keyboard.press("Enter");
    await explained(page);
    await tabTo(page, /^\d+ more$/);
    await page.keyboard.press("Enter");
    await tabTo(page, /^Models, and why/);

    await page.locator("h1").evaluate(() => document.activeElement.blur());
    await page.getByRole("link", { name: "Explain" }).focus();
    await tabTo(page, /^Compare$/);
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement.id === "compare-title");
    assert.equal(await page.getByRole("link", { name: "Compare" }).getAttribute("aria-current"), "page");
    await tabTo(page, /^Prompts$/);
    await page.keyboard.type("Hi!");
    await tabTo(page, /^Compare$/);
    await page.keyboard.press("Space");
    await page.getByText(/^Both agree on \d of 1 prompt/).waitFor();
  }));
