// Makes the pictures of docs/console.md: run `scripts/test console` once, then
//
//   NODE_PATH=.setup/console/node_modules node tests/console/docs-pictures.cjs
//   pngquant --force --ext .png docs/console.png docs/console-dark.png

const path = require("node:path");
const { REPO, explain, startBrowser, startSidecar, withPage } = require("./world.cjs");

const POLICY = path.join(REPO, "docs/examples/policy.yaml");
const PICTURES = [
  // For README.md, which has room for the top of the page.
  { file: "console.png", colorScheme: "light", viewport: { width: 1280, height: 1000 }, fullPage: false },
  { file: "console-dark.png", colorScheme: "dark", viewport: { width: 1120, height: 800 }, fullPage: true },
];

async function main() {
  const sidecar = await startSidecar(["--policy", POLICY]);
  const browser = await startBrowser();
  for (const { file, fullPage, ...options } of PICTURES) {
    const picture = async (page) => {
      await explain(page, "Write a Python function that merges two sorted lists into one.");
      await page.getByRole("heading", { name: "Explain a request" }).focus();
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: path.join(REPO, "docs", file), fullPage });
    };
    await withPage(browser, sidecar, "explain", picture, options);
  }
  await browser.close();
  await sidecar.stop();
}

main();
