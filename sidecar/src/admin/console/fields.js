// Fields of forms whose values are not usable.

import { setError } from "./dom.js";

/** A field whose value is not usable, and why. */
export class FieldError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** Shows a field's error, and leads the keyboard to the field. Other errors go on. */
export function showFieldError(error) {
  if (!(error instanceof FieldError)) throw error;
  setError(error.field, error.message);
  error.field.closest("details")?.setAttribute("open", "");
  error.field.focus();
}

/** The number of tokens in a field. */
export function readTokens(field) {
  const tokens = Number(field.value);
  if (field.value.trim() === "" || !Number.isInteger(tokens) || tokens < 0 || tokens > 1e6) {
    throw new FieldError(field, "A whole number from 0 to 1,000,000.");
  }
  return tokens;
}
