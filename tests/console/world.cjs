// A sidecar on free ports, and Chromium that shows its console. Browser warnings and errors fail the test.

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { mkdirSync } = require("node:fs");
const path = require("node:path");
const { createInterface } = require("node:readline");
const { after, before } = require("node:test");
const { chromium } = require("playwright-core");

const REPO = path.resolve(__dirname, "../..");
const SCREENSHOTS = path.join(REPO, "target/console");
const POLICY = path.join(__dirname, "policy.yaml");
const SIDECAR = process.env.SIDECAR_BIN ?? path.join(REPO, "target/release/llm-router-sidecar");
const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** The longest wait for a state, in milliseconds: the machine may be busy. */
const TIMEOUT = 60_000;

/** A child process that ends with the tests, and the lines that it writes to standard error. */
function start(command, args) {
  const child = spawn(command, args, { cwd: REPO, stdio: ["ignore", "ignore", "pipe"] });
  const lines = [];
  const waiting = new Set();
  createInterface({ input: child.stderr }).on("line", (line) => {
    lines.push(line);
    for (const check of waiting) check();
  });
  const ended = new Promise((resolve) => {
    child.once("error", resolve);
    child.once("exit", (code) => resolve(new Error(`${command} ended with ${code}:\n${lines.slice(-20).join("\n")}`)));
  });
  return {
    /** The first result of `find` that is not undefined, over the lines that are or will be written. */
    async line(find) {
      const found = new Promise((resolve) => {
        const check = () => {
          const result = lines.map(find).find((it) => it !== undefined);
          if (result === undefined) return;
          waiting.delete(check);
          resolve(result);
        };
        waiting.add(check);
        check();
      });
      return Promise.race([found, ended.then((error) => Promise.reject(error))]);
    },
    async stop() {
      child.kill();
      await ended;
    },
  };
}

/** Starts a sidecar with these further options. `{address, admin, stop}` */
async function startSidecar(options = ["--policy", POLICY]) {
  const ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"];
  const child = start(SIDECAR, ["serve", "--model", path.join(REPO, "models/minilm"), ...ports, ...options]);
  const serving = await child.line((line) => {
    const { fields } = JSON.parse(line);
    return fields.message === "serving" ? fields : undefined;
  });
  return { ...serving, stop: child.stop };
}

/** Starts Chromium. */
function startBrowser() {
  return chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
}

/** Opens the console at a view, runs the test, and fails on warnings, errors, dialogs and requests to other hosts. */
async function withPage(browser, sidecar, view, test, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT);
  const complaints = [];
  const expected = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.stack}`));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    if (new URL(request.url()).host !== sidecar.admin) complaints.push(`a request to ${request.url()}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  await page.goto(`http://${sidecar.admin}/console/#${view}`);
  await page.locator(`#view-${view}`).waitFor();
  /** The API's own errors are in the browser's log, too. */
  page.expectStatus = (status) =>
    expected.push(`Failed to load resource: the server responded with a status of ${status}`);
  await test(page);
  await context.close();
  const unexpected = complaints.filter((complaint) => !expected.some((text) => complaint.startsWith(text)));
  assert.deepEqual(unexpected, []);
}

/** Starts a sidecar and a browser for all tests of a file: a function that runs a test on a page of theirs. */
function sharedPages() {
  let sidecar;
  let browser;
  before(async () => {
    [sidecar, browser] = await Promise.all([startSidecar(), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    await sidecar?.stop();
  });
  return (view, test, options) => withPage(browser, sidecar, view, test, options);
}

/** Types a prompt into the form, explains it, and waits for the result. */
async function explain(page, prompt) {
  await page.getByRole("textbox", { name: "Prompt" }).fill(prompt);
  await page.getByRole("button", { name: "Explain" }).click();
  await explained(page);
}

async function explained(page) {
  await page.waitForFunction(
    () => !/Explaining|appears here/.test(document.getElementById("explain-status").textContent),
  );
}

/** A screenshot for people. */
async function screenshot(page, name) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`), fullPage: true });
}

module.exports = {
  POLICY,
  REPO,
  explain,
  explained,
  screenshot,
  sharedPages,
  start,
  startBrowser,
  startSidecar,
  withPage,
};
