// What the heads of the model say of a text.

import { bar, element } from "./dom.js";
import { beginning, bound, count, fraction, milliseconds } from "./format.js";

/** Labels that are shown at once; the others on demand. */
const SHOWN = 5;

/** A classified text with the prediction of every head. */
export function renderText(text, steps, outline) {
  const parts = [element("p", { class: "hint" }, readingOf(text))];
  parts.push(element("blockquote", { dir: "auto" }, beginning(text.text, 400)));
  for (const message of text.context) {
    parts.push(element("blockquote", { class: "context", dir: "auto" }, `Context: ${beginning(message, 200)}`));
  }
  if (text.error) parts.push(element("p", { class: "notice bad" }, `No prediction: ${text.error}`));
  const deciding = steps.filter(({ kind }) => kind === "policy").at(-1);
  const bounds = text.decides ? boundsOf(deciding, steps, outline) : [];
  const isDeciding = (head) => text.decides && head === deciding?.classifier;
  const sorted = Object.entries(text.predictions).sort(([one], [other]) => isDeciding(other) - isDeciding(one));
  const heads = sorted.map(([head, prediction]) => {
    const decides = isDeciding(head);
    return renderHead(head, prediction, decides, decides ? bounds : []);
  });
  return element("div", { class: "text-heads" }, parts, element("div", { class: "heads" }, heads));
}

function readingOf({ read, took_ms: took, characters, decides }) {
  const whole = read && read.tokens >= read.of;
  const of = read ? `${read.estimated ? "about " : ""}${count(read.of)}` : "";
  const tokens = read ? `${whole ? "" : `${count(read.tokens)} of `}${of} tokens read` : "not read";
  const decision = decides ? "" : " The decision does not depend on it.";
  return `${count(characters)} characters, ${tokens}, in ${milliseconds(took)}.${decision}`;
}

/** The bounds that the deciding classifier's numbers are compared with. */
function boundsOf(deciding, steps, outline) {
  const label = steps.filter(({ kind }) => kind === "label").at(-1);
  if (label) return label.min_confidence > 0 ? [label.min_confidence] : [];
  const score = steps.filter(({ kind }) => kind === "score").at(-1);
  if (!score) return [];
  if (score.threshold !== null) return [score.threshold];
  const policy = outline?.policies.find(({ name }) => name === deciding?.policy);
  return (policy?.routes ?? []).map(({ up_to: upTo }) => upTo).filter((upTo) => upTo !== undefined);
}

function renderHead(head, prediction, decides, bounds) {
  const isScore = prediction.score !== undefined;
  // A score without dimensions is its only one.
  const scores = Object.entries(prediction.scores).filter(([name]) => !isScore || name !== "score");
  const first = isScore ? [["score", prediction.score]] : [];
  const rows = [...first, ...scores].map(([label, value], index) => {
    const marks = index === 0 ? bounds : [];
    return element(
      "tr",
      { class: index === 0 && "first" },
      element("th", { scope: "row", dir: "auto" }, label),
      element("td", { class: "bar-cell" }, bar(value, { marks, strong: index === 0 })),
      element("td", { class: "number" }, fraction(value)),
    );
  });
  const badge = decides ? element("span", { class: "badge" }, "decides") : null;
  const title = element("h4", {}, head, " ", badge);
  const hint =
    bounds.length > 0
      ? element(
          "p",
          { class: "hint" },
          `${isScore ? "Bounds of the bands" : "Minimum confidence"}: ${bounds.map(bound).join(", ")}`,
        )
      : null;
  const note = prediction.note ? element("p", { class: "hint" }, prediction.note) : null;
  const table = (caption, some) =>
    element(
      "table",
      { class: "scores" },
      element("caption", { class: "visually-hidden" }, caption),
      element(
        "thead",
        { class: "visually-hidden" },
        element(
          "tr",
          {},
          element("th", { scope: "col" }, isScore ? "Dimension" : "Label"),
          element("td", {}),
          element("th", { scope: "col" }, isScore ? "Score" : "Probability"),
        ),
      ),
      element("tbody", {}, some),
    );
  const rest =
    rows.length > SHOWN + 1
      ? element(
          "details",
          {},
          element("summary", {}, `${rows.length - SHOWN} more`),
          table(`${head}: the others`, rows.splice(SHOWN)),
        )
      : null;
  return element("article", { class: "head" }, title, table(`Prediction of ${head}`, rows), rest, hint, note);
}
