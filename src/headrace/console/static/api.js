// The API, as the page uses it: the same addresses every other client has.

/** An answer of the API that is not a success; `status` 0: no answer at all. */
export class ApiError extends Error {
  constructor(message, status, param = null) {
    super(message);
    this.status = status;
    this.param = param; // the field that is wrong, where one is
  }
}

/** The models this key may use. */
export async function listModels(key) {
  const response = await call("/v1/models", { headers: headersFor(key) });
  return (await response.json()).data;
}

/** What the models cost and can do, by id. */
export async function listPrices(key) {
  const response = await call("/v1/models?format=openrouter", { headers: headersFor(key) });
  const { data } = await response.json();
  return new Map(data.map((model) => [model.id, model]));
}

/**
 * What may be known of the models: with a key all of it, without one, beside a session, what
 * everybody may see.
 */
export async function knownModels(key) {
  try {
    const [models, prices] = await Promise.all([listModels(key), listPrices(key)]);
    return models.map((model) => ({ ...prices.get(model.id), ...model }));
  } catch (error) {
    if (error.status !== 401 || key) throw error;
  }
  try {
    const response = await call("/public/v1/models?format=openrouter", {});
    return (await response.json()).data;
  } catch (error) {
    if (error.status === 404) return []; // the list is not public
    throw error;
  }
}

/** How the server does, and how well it has served. */
export async function serviceStatus(key) {
  const response = await call("/v1/status", { headers: headersFor(key) });
  return response.json();
}

/** One token's way across a mesh: { model, models, replay }. */
export async function waferReplay(key, model, mesh) {
  const asked = new URLSearchParams({ mesh, ...(model && { model }) });
  const response = await call(`/console/wafer/replay.json?${asked}`, { headers: headersFor(key) });
  return response.json();
}

// To read a piece of a stream, and to paint it, costs a browser many times what a token in it costs.
// Where it is on the machine that decodes, that is time the tokens do not get.
const IS_SAME_MACHINE = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
const INTERVAL_MS = IS_SAME_MACHINE ? 160 : 48; // between two pieces of a fast stream

/**
 * Stream one chat. Yields what came together: a list of { text }, { thought } and { calls }, at the
 * end { finish, usage, timeInfo }. Throws ApiError; aborting `signal` throws an AbortError.
 */
export async function* streamChat(body, key, signal) {
  const response = await call("/v1/chat/completions", {
    method: "POST",
    headers: { ...headersFor(key), "content-type": "application/json" },
    body: JSON.stringify({ ...body, stream_options: { interval_ms: INTERVAL_MS } }),
    signal,
  });
  for await (const read of reads(response.body)) {
    const parts = [];
    for (const data of read) {
      if (data === "[DONE]") {
        yield parts;
        return;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) {
        yield parts;
        throw new ApiError(chunk.error.message, chunk.status_code);
      }
      addParts(parts, chunk);
    }
    yield parts;
  }
  throw new ApiError("The answer broke off: the connection was lost.", 0);
}

function addParts(parts, chunk) {
  const choice = chunk.choices[0];
  const delta = choice?.delta;
  if (delta?.content) parts.push({ text: delta.content });
  if (delta?.reasoning) parts.push({ thought: delta.reasoning });
  if (delta?.tool_calls) parts.push({ calls: delta.tool_calls });
  if (choice?.finish_reason || chunk.usage) {
    parts.push({ finish: choice?.finish_reason, usage: chunk.usage, timeInfo: chunk.time_info });
  }
}

/** The data of the server-sent events that came together, read by read. */
async function* reads(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const pieces = (rest + value).split("\n\n");
      rest = pieces.pop();
      yield pieces.filter((piece) => piece.startsWith("data: ")).map((piece) => piece.slice(6));
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Any call of ours: a response that is a success, or an ApiError. */
export async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Is it still running?", 0);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const message = body.error?.message ?? `The server answered ${response.status}.`;
  throw new ApiError(message, response.status, body.error?.param);
}

function headersFor(key) {
  return key ? { authorization: `Bearer ${key}` } : {};
}
