// What the settings say, as fields of a request. Pure: no page, no server.

/** A setting that cannot be sent, in words for whoever wrote it. */
export class SettingError extends Error {}

/**
 * The fields of a chat request that `settings` ask for; what is left open is left out.
 *
 * settings: { temperature, topP, maxTokens, seed, frequencyPenalty, presencePenalty: number or null,
 *   stop: text, effort: text, tools: text, toolChoice: text, form: text, schema: text }
 */
export function requestFields(settings) {
  const fields = {
    temperature: settings.temperature,
    top_p: settings.topP,
    max_tokens: settings.maxTokens,
    seed: settings.seed,
    frequency_penalty: settings.frequencyPenalty,
    presence_penalty: settings.presencePenalty,
    stop: stops(settings.stop),
    reasoning_effort: settings.effort || null,
    ...tools(settings),
    response_format: form(settings),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}

function stops(text) {
  const found = text.split("\n").filter((line) => line !== "");
  if (found.length > 4) throw new SettingError("Stop at: four at most.");
  return found.length ? found : null;
}

function tools({ tools: text, toolChoice }) {
  if (!text.trim()) return {};
  const found = parsed(text, "Tools");
  if (!Array.isArray(found)) throw new SettingError("Tools: a list, such as [ { … } ].");
  if (!found.length) return {};
  // A bare function is what people have at hand.
  const wrapped = found.map((tool) => (tool?.name ? { type: "function", function: tool } : tool));
  return { tools: wrapped, tool_choice: toolChoice || null };
}

function form({ form: kind, schema }) {
  if (!kind) return null;
  if (kind === "json_object") return { type: kind };
  const found = parsed(schema, "JSON schema");
  return { type: kind, json_schema: { name: "answer", strict: true, schema: found } };
}

function parsed(text, name) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SettingError(`${name}: ${error.message}`);
  }
}

export const TOOLS_EXAMPLE = [
  {
    type: "function",
    function: {
      name: "river_level",
      description: "The level of a river, in metres",
      parameters: {
        type: "object",
        properties: { river: { type: "string" } },
        required: ["river"],
        additionalProperties: false,
      },
    },
  },
];

export const SCHEMA_EXAMPLE = {
  type: "object",
  properties: { term: { type: "string" }, meaning: { type: "string" } },
  required: ["term", "meaning"],
  additionalProperties: false,
};
