// Counters and latencies of a sidecar that real Envoy calls.

const assert = require("node:assert/strict");
const { mkdtempSync, readFileSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const path = require("node:path");
const { after, before, test } = require("node:test");
const { REPO, screenshot, start, startBrowser, startSidecar, withPage } = require("./world.cjs");

const ENVOY = process.env.ENVOY_BIN ?? path.join(REPO, ".setup/venv/bin/envoy");

let sidecar;
let browser;
let envoy;

/** Envoy with its own ext_proc filter, on a free port. Its LLMs are down: only decisions count here. */
async function startEnvoy() {
  const sidecarPort = sidecar.address.split(":").at(-1);
  const bootstrap = readFileSync(path.join(REPO, "envoy/native.yaml"), "utf8")
    .replace("port_value: 9901", "port_value: 0")
    .replace("port_value: 10000", "port_value: 0")
    .replace("port_value: 50051", `port_value: ${sidecarPort}`)
    .replace(/port_value: 800\d/g, "port_value: 1");
  const file = path.join(mkdtempSync(path.join(tmpdir(), "console-")), "envoy.yaml");
  writeFileSync(file, bootstrap);
  const child = start(ENVOY, ["-c", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "info"]);
  const admin = await child.line((line) => line.match(/admin address: (\S+)/)?.[1]);
  await child.line((line) => (line.includes("all dependencies initialized. starting workers") ? true : undefined));
  const listeners = await (await fetch(`http://${admin}/listeners?format=json`)).json();
  const { address, port_value: port } = listeners.listener_statuses[0].local_address.socket_address;
  return { url: `http://${address}:${port}/v1/chat/completions`, stop: child.stop };
}

before(async () => {
  sidecar = await startSidecar(["--policy", path.join(REPO, "envoy/policy.yaml")]);
  [browser, envoy] = await Promise.all([startBrowser(), startEnvoy()]);
});
after(async () => {
  await browser?.close();
  await envoy?.stop();
  await sidecar?.stop();
});

async function send(model, content) {
  const body = JSON.stringify({ model, messages: [{ role: "user", content }] });
  await (await fetch(envoy.url, { method: "POST", headers: { "content-type": "application/json" }, body })).text();
}

const cell = (page, table, row) =>
  page.getByRole("table", { name: table }).getByRole("row", { name: row }).getByRole("cell").last();

test("counters, latencies and decisions move with the requests", () =>
  withPage(browser, sidecar, "live", async (page) => {
    await page.getByRole("table", { name: "Requests by outcome" }).waitFor();
    assert.equal(await cell(page, "Requests by outcome", /^classified/).textContent(), "0");
    await page.getByText("None. This sidecar decides for").waitFor();
    for (let number = 0; number < 10; number += 1) await send("auto", `Write function number ${number}`);
    for (let number = 0; number < 3; number += 1) await send("llama-70b", "Hi");
    await cell(page, "Requests by outcome", /^classified/)
      .getByText("10", { exact: true })
      .waitFor();
    await cell(page, "Decisions by model, policy and reason", /^llama-70b.*manual/)
      .getByText("3", { exact: true })
      .waitFor();
    await page.locator(".tiles").getByText(/ms$/).first().waitFor();
    for (const title of ["Requests per second", "Latency", "Queue", "Decisions per second, by model"]) {
      await page.getByRole("img", { name: new RegExp(`^${title}:`) }).waitFor();
    }
    await page.waitForFunction(() => document.querySelector(".chart .line").getAttribute("d").includes("L"));
    const ticks = page.getByRole("img", { name: /^Latency:/ }).locator(".tick");
    assert.ok((await ticks.count()) >= 5, "the axes have numbers");
    await screenshot(page, "live-native-light-wide");
    assert.match(await page.locator("#state").textContent(), /^Sidecar \d+\.\d+/);
  }));

test("capture of prompts is announced on every view", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "console-"));
  const capturing = await startSidecar(["--capture", folder]);
  try {
    for (const view of ["explain", "live"]) {
      await withPage(browser, capturing, view, async (page) => {
        page.expectStatus(404);
        await page.getByText("Capture is on: this sidecar writes a sample").waitFor();
      });
    }
  } finally {
    await capturing.stop();
  }
  await withPage(browser, sidecar, "explain", async (page) => {
    await page.getByText(/^Sidecar \d/).waitFor();
    assert.equal(await page.locator(".notice").count(), 0);
  });
});

test("reading pauses, and stops while the page is hidden", () =>
  withPage(browser, sidecar, "live", async (page) => {
    let reads = 0;
    page.on("request", (request) => {
      reads += request.url().endsWith("/metrics");
    });
    // The page sends all its reads before the response to this fetch arrives.
    const readsNow = async (visibility) => {
      const earlier = reads;
      await page.evaluate(async (state) => {
        Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
        await fetch("../healthz");
      }, visibility);
      return reads - earlier;
    };
    await page.waitForRequest(/metrics$/);
    await page.getByRole("button", { name: "Pause" }).click();
    const resume = page.getByRole("button", { name: "Resume" });
    assert.equal(await resume.getAttribute("aria-pressed"), "true");
    assert.equal(await readsNow("visible"), 0, "it pauses");
    await Promise.all([page.waitForRequest(/metrics$/), resume.click()]);
    assert.equal(await readsNow("hidden"), 0, "it is hidden");
    assert.equal(await readsNow("visible"), 1, "it is visible again");
  }));

test("a sidecar that is gone is reported, and one that is back is read again", () =>
  withPage(browser, sidecar, "live", async (page) => {
    await page.getByRole("table", { name: "Requests by outcome" }).waitFor();
    page.expectStatus(503);
    await page.route("**/metrics", (route) => route.fulfill({ status: 503 }));
    await page.getByText("The page tries again every few seconds.").waitFor();
    await page.unroute("**/metrics");
    await page.getByText("The page tries again every few seconds.").waitFor({ state: "detached" });
  }));

test("quantiles are those of the observations between two readings", () =>
  withPage(browser, sidecar, "live", async (page) => {
    const result = await page.evaluate(async () => {
      const { Metrics, quantile } = await import("/console/openmetrics.js");
      const text = (low, middle, high) => `# TYPE a histogram
a_bucket{le="0.1",x="{\\"y\\\\z\\",}"} ${low}
a_bucket{le="1.0"} ${middle}
a_bucket{le="+Inf"} ${high} # {trace="t"} 0.5
b_total{model="one \\"1\\"",reason="x"} 2
b_total{model="two"} 3.5 1700000000
# EOF`;
      const [before, now] = [new Metrics(text(10, 10, 10)), new Metrics(text(10, 20, 20))];
      const buckets = [before, now].map((metrics) => metrics.buckets("a"));
      return {
        half: quantile(...buckets, 0.5),
        all: quantile(...buckets, 1),
        beyond: quantile(before.buckets("a"), new Metrics(text(10, 10, 30)).buckets("a"), 0.99),
        nothing: quantile(buckets[0], buckets[0], 0.5),
        labels: now.labels("b_total"),
        sum: now.sum("b_total"),
        one: now.sum("b_total", { model: "two" }),
        odd: now.all("a_bucket")[0].labels.x,
      };
    });
    assert.ok(Math.abs(result.half - 0.55) < 1e-9 && Math.abs(result.all - 1) < 1e-9, JSON.stringify(result));
    assert.deepEqual([result.beyond, result.nothing, result.sum, result.one], [1, null, 5.5, 3.5]);
    assert.deepEqual(result.labels, [{ model: 'one "1"', reason: "x" }, { model: "two" }]);
    assert.equal(result.odd, '{"y\\z",}');
  }));
