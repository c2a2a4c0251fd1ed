// Elements of the page. All content is set as text: prompts, labels and policies are never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element of an id that the page has. */
export function byId(id) {
  return document.getElementById(id);
}

/** An HTML element. Attributes that are false, null or undefined are left out; `on…` are listeners. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets custom properties and widths, which the content security policy allows from scripts only. */
function styled(node, properties) {
  for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
  return node;
}

/** Shows what is wrong with a field; an empty message clears it. */
export function setError(field, message) {
  byId(`${field.id}-error`).textContent = message;
  if (message) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

/** A part of a view, with a heading. */
export function panel(title, ...content) {
  return element("section", { class: "panel" }, element("h3", {}, title), ...content);
}

/** A table with a caption, which scrolls by keyboard. Columns: `{title, number, isHeader, class}`. */
export function table(caption, columns, rows) {
  const head = columns.map(({ title, number }) => element("th", { scope: "col", class: number && "number" }, title));
  const body = rows.map((cells) => {
    const filled = cells.map((cell, index) => {
      const column = columns[index];
      const name = column.isHeader ? "th" : "td";
      return element(name, { scope: column.isHeader && "row", class: column.number ? "number" : column.class }, cell);
    });
    return element("tr", {}, filled);
  });
  const content = element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, head)),
    element("tbody", {}, body),
  );
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, content);
}

/** A bar beside its number, as a fraction of the whole, 0 to 1. Marks are thresholds. */
export function bar(fraction, { marks = [], strong = false } = {}) {
  const percent = (value) => `${Math.max(0, Math.min(1, value)) * 100}%`;
  const fillOf = styled(element("span", { class: "fill" }), { width: percent(fraction) });
  const lines = marks.map((mark) => styled(element("span", { class: "mark" }), { left: percent(mark) }));
  return element("span", { class: strong ? "bar strong" : "bar", "aria-hidden": "true" }, fillOf, lines);
}
