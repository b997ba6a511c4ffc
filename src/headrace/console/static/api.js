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

/** One token's way across a mesh: { model, models, replay }. */
export async function waferReplay(key, model, mesh) {
  const asked = new URLSearchParams({ mesh, ...(model && { model }) });
  const response = await call(`/console/wafer/replay.json?${asked}`, { headers: headersFor(key) });
  return response.json();
}

/**
 * Stream one chat. Yields { text } for each token, and { finish, usage, timeInfo } at the end.
 * Throws ApiError; aborting `signal` throws an AbortError.
 */
export async function* streamChat(body, key, signal) {
  const response = await call("/v1/chat/completions", {
    method: "POST",
    headers: { ...headersFor(key), "content-type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message, chunk.status_code);
    const choice = chunk.choices[0];
    if (choice?.delta.content) yield { text: choice.delta.content };
    if (choice?.finish_reason || chunk.usage) {
      yield { finish: choice?.finish_reason, usage: chunk.usage, timeInfo: chunk.time_info };
    }
  }
  throw new ApiError("The answer broke off: the connection was lost.", 0);
}

/** The data of each server-sent event in a body. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const pieces = (rest + value).split("\n\n");
      rest = pieces.pop();
      for (const piece of pieces) {
        if (piece.startsWith("data: ")) yield piece.slice(6);
      }
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
