// Starts the views, and shows the one that the address names.

import { showNotice, watchMetrics } from "./banners.js";
import { startCompare } from "./compare-view.js";
import { byId } from "./dom.js";
import { startExplain } from "./explain-form.js";
import { startLive } from "./live-view.js";
import { startPolicies } from "./policies-view.js";
import { store } from "./policy-store.js";
import { sampler } from "./sampler.js";

const VIEWS = ["explain", "policies", "compare", "live"];

/** The view of the address; others, as that of the skip link, change nothing. */
function show(isFirst) {
  const name = location.hash.slice(1);
  const shown = VIEWS.includes(name) ? name : isFirst ? VIEWS[0] : null;
  if (!shown) return;
  for (const view of VIEWS) byId(`view-${view}`).hidden = view !== shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = byId(`${shown}-title`);
  document.title = `${title.textContent} – LLM router console`;
  // So that the keyboard goes on in the view, and a screen reader says which one it is.
  if (!isFirst) title.focus();
}

// Before the views start: their own listeners find the view that is shown.
window.addEventListener("hashchange", () => show(false));
startExplain();
startPolicies();
startCompare();
startLive();
watchMetrics();
show(true);
store.load().catch((error) => showNotice("policy", `The sidecar’s policy cannot be shown: ${error.message}`, "bad"));
sampler.start();
