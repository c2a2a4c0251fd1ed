// The sidecar's admin API.

/** The longest request body that the API reads, in bytes. */
const MAX_BODY = 1 << 20;

/** Why a request failed, in words for people. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// Relative, so that the page works below any path.
async function call(path, options) {
  let response;
  try {
    response = await fetch(`../${path}`, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The sidecar does not respond.", 0);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new ApiError(body?.error?.message ?? `The sidecar responds with status ${response.status}.`, response.status);
}

async function post(path, input, signal) {
  const body = JSON.stringify(input);
  if (new TextEncoder().encode(body).length > MAX_BODY) {
    throw new ApiError("The request is longer than 1 MiB, which the admin API does not read.", 413);
  }
  const response = await call(path, { method: "POST", headers: { "content-type": "application/json" }, body, signal });
  return response.json();
}

/** Explains a request: `{request, path, headers, policy, completion_tokens}`. */
export function explain(input, signal) {
  return post("v1/explain", input, signal);
}

/** The outline of the sidecar's own policy; null if it has none. */
export async function ownPolicy() {
  try {
    return await (await call("v1/policy")).json();
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** The outline of a policy. */
export function outlineOf(policy) {
  return post("v1/policy", { policy });
}

/** The metrics as OpenMetrics text. */
export async function metrics(signal) {
  return (await call("metrics", { signal })).text();
}
