// The policies that the page knows: the sidecar's own, and a pasted one.

import { ownPolicy, outlineOf } from "./api.js";
import { element } from "./dom.js";

const RETRY_AFTER = 2000;

/** What the request itself says: its `model`, then rules, then the default policy. */
const AS_REQUESTED = "";

class PolicyStore extends EventTarget {
  /** The outline of the sidecar's policy; null if it has none, undefined until that is known. */
  own = undefined;
  /** The pasted policy: `{text, outline}`; null if there is none. */
  pasted = null;

  /** Loads the sidecar's policy. While the model is still loading, it tries again. */
  async load() {
    try {
      this.own = await ownPolicy();
    } catch (error) {
      if (error.status !== 503 && error.status !== 0) throw error;
      setTimeout(() => this.load(), RETRY_AFTER);
      return;
    }
    this.#changed();
  }

  /** Uses a pasted policy from now on. Throws if it is not valid. */
  async paste(text) {
    this.pasted = { text, outline: await outlineOf(text) };
    this.#changed();
  }

  /** Forgets the pasted policy. */
  clear() {
    this.pasted = null;
    this.#changed();
  }

  /** The outline of a source, `sidecar` or `pasted`. */
  outline(source) {
    return source === "pasted" ? this.pasted?.outline : this.own;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

export const store = new PolicyStore();

/** Keeps the options of a select those of the known policies. */
export function offerPolicies(select, asRequested) {
  const refresh = () => {
    const before = select.value;
    const groups = [
      ["sidecar", "Sidecar’s policy", store.own],
      ["pasted", "Pasted policy", store.pasted?.outline],
    ];
    select.replaceChildren(
      ...groups
        .filter(([, , outline]) => outline)
        .map(([source, title, outline]) => {
          const named = outline.policies.map(({ name }) => option(source, name, name));
          const first = option(source, AS_REQUESTED, `${asRequested} (${outline.default_policy})`);
          return element("optgroup", { label: title }, first, named);
        }),
    );
    if (select.options.length === 0) select.append(element("option", { value: "" }, "None: paste one under Policies"));
    if ([...select.options].some(({ value }) => value === before)) select.value = before;
  };
  store.addEventListener("change", refresh);
  refresh();
}

function option(source, policy, text) {
  return element("option", { value: JSON.stringify([source, policy]) }, text);
}

/** What a select's value means for a request: `{source, policy, headers, text}`. */
export function chosenPolicy(select) {
  if (!select.value) return { source: null, policy: "", headers: {}, text: undefined };
  const [source, policy] = JSON.parse(select.value);
  const headers = policy ? { "x-llm-policy": policy } : {};
  return { source, policy, headers, text: source === "pasted" ? store.pasted.text : undefined };
}
