// Objects and tools through the official client and the AI SDK; prints what came as one JSON object.
//
// node objects.js ORIGIN MODEL

import { createCerebras } from "@ai-sdk/cerebras";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [origin, model] = process.argv.slice(2);
const baseURL = `${origin}/v1`;
const prompt = "What is the weather in Rome?";
const City = z.object({ name: z.string().max(20), country: z.string().max(20) });
const seen = {};

const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const asked = { model, messages: [{ role: "user", content: prompt }], seed: 1, max_tokens: 400 };
const parsed = await client.chat.completions.parse({
  ...asked,
  response_format: zodResponseFormat(City, "city"),
});
seen.parsed = parsed.choices[0].message.parsed;

const getTime = {
  type: "function",
  function: { name: "get_time", parameters: { type: "object", properties: {} } },
};
const streamed = client.chat.completions.stream({
  ...asked,
  tools: [getTime],
  tool_choice: "required",
});
const { message, finish_reason } = (await streamed.finalChatCompletion()).choices[0];
seen.called = message.tool_calls.map((call) => call.function.name);
seen.finish = finish_reason;

const cerebras = createCerebras({ baseURL, apiKey: "none" });
const common = { model: cerebras(model), prompt, maxOutputTokens: 400, maxRetries: 0, seed: 1 };
seen.text = (await generateText(common)).text.length > 0;

const object = await generateText({ ...common, output: Output.object({ schema: City }) });
seen.object = object.output;

const tools = {
  get_time: tool({
    description: "What time it is.",
    inputSchema: z.object({}),
    execute: async () => "noon",
  }),
};
const stream = streamText({
  ...common,
  tools,
  toolChoice: "required",
  stopWhen: stepCountIs(1),
});
seen.streamed = [];
for await (const part of stream.fullStream) {
  if (part.type === "error") throw part.error;
  if (part.type === "tool-call") seen.streamed.push(part.toolName);
}

console.log(JSON.stringify(seen));
