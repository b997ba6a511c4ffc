// Drives a server with the official client; prints what it saw as one JSON object.
//
// node chat.js BASE_URL MODEL

import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const seen = {};

seen.models = (await client.models.list()).data.map(({ id }) => id);
seen.retrieved = (await client.models.retrieve(model)).id;

const answer = await client.chat.completions.create({ model, messages });
seen.answer = answer.choices[0].message.content;
seen.requestId = answer._request_id;

const chunks = [];
const stream = await client.chat.completions.create({
  model,
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) chunks.push(chunk);
seen.pieces = chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta.content ?? null));
seen.usage = chunks.at(-1).usage.total_tokens;
seen.finish = chunks.at(-2).choices[0].finish_reason;

const helper = client.chat.completions.stream({ model, messages });
seen.helped = (await helper.finalChatCompletion()).choices[0].message.content;

for (const [name, change] of Object.entries({
  unknownModel: { model: "gpt-99" },
  badField: { temperature: 9 },
  unknownModelStream: { model: "gpt-99", stream: true },
})) {
  try {
    await client.chat.completions.create({ model, messages, ...change });
  } catch (error) {
    seen[name] = { kind: error.constructor.name, status: error.status, message: error.message };
  }
}

const early = await client.chat.completions.create({ model, messages, stream: true });
for await (const chunk of early) {
  if (chunk.choices[0].delta.content) break;
}

console.log(JSON.stringify(seen));
