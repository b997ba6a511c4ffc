// The present dialogue as code for other clients. The key is never in it.

const KEY = "YOUR_KEY";

export function asCurl(origin, body) {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return [
    `curl -N ${origin}/v1/chat/completions \\`,
    `  -H "Authorization: Bearer ${KEY}" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${json}'`,
  ].join("\n");
}

export function asPython(origin, body) {
  const { messages, ...rest } = body;
  const fields = Object.entries(rest).map(([name, value]) => `    ${name}=${python(value)},`);
  return [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url="${origin}/v1", api_key="${KEY}")`,
    "stream = client.chat.completions.create(",
    ...fields,
    `    messages=${JSON.stringify(messages, null, 4).replaceAll("\n", "\n    ")},`,
    ")",
    "for chunk in stream:",
    '    print(chunk.choices[0].delta.content or "", end="", flush=True)',
  ].join("\n");
}

function python(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  return JSON.stringify(value);
}
