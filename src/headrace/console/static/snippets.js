// A request as code for other clients: the same fields with the same values. A key is never in it.

const KEY = "YOUR_KEY";
const OURS = new Set(["clear_thinking", "reasoning_format"]); // not in OpenAI's types

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
  const [known, ours] = split(body);
  const fields = Object.entries(known).map(([name, value]) => `    ${name}=${python(value)},`);
  if (Object.keys(ours).length) fields.push(`    extra_body=${python(ours)},`);
  return [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url="${origin}/v1", api_key="${KEY}")`,
    "stream = client.chat.completions.create(",
    ...fields,
    ")",
    "for chunk in stream:",
    "    for choice in chunk.choices:",
    '        print(choice.delta.content or "", end="", flush=True)',
  ].join("\n");
}

export function asTypeScript(origin, body) {
  const fields = Object.entries(body).map(
    ([name, value]) => `  ${name}: ${indented(JSON.stringify(value, null, 2), "  ")},`,
  );
  return [
    'import OpenAI from "openai";',
    "",
    `const client = new OpenAI({ baseURL: "${origin}/v1", apiKey: "${KEY}" });`,
    "const stream = await client.chat.completions.create({",
    ...fields,
    "});",
    "for await (const chunk of stream) {",
    '  for (const choice of chunk.choices) process.stdout.write(choice.delta.content ?? "");',
    "}",
  ].join("\n");
}

function split(body) {
  const entries = Object.entries(body);
  return [false, true].map((ours) =>
    Object.fromEntries(entries.filter(([name]) => OURS.has(name) === ours)),
  );
}

function indented(text, by) {
  return text.replaceAll("\n", `\n${by}`);
}

/** A value as Python writes it; its lines after the first stand in four more. */
function python(value, indent = "    ") {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const items = Array.isArray(value)
    ? value.map((item) => inner + python(item, inner))
    : Object.entries(value).map(
        ([name, item]) => `${inner}${JSON.stringify(name)}: ${python(item, inner)}`,
      );
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (!items.length) return open + close;
  return `${open}\n${items.join(",\n")},\n${indent}${close}`;
}
