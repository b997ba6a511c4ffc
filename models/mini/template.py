"""Special tokens and the chat template of headrace-mini, in the manner of Llama 3."""

from __future__ import annotations

import json
from typing import Any

BEGIN = "<|begin_of_text|>"
END = "<|end_of_text|>"
HEADER_OPEN = "<|start_header_id|>"
HEADER_CLOSE = "<|end_header_id|>"
TURN_END = "<|eot_id|>"
PAD = "<|pad|>"
RESERVED = tuple(f"<|reserved_{i}|>" for i in range(10))
SPECIALS = (BEGIN, END, HEADER_OPEN, HEADER_CLOSE, TURN_END, PAD, *RESERVED)

TOOL_RULE = (
    "You may call one of the tools below. To call it, answer only with JSON: "
    '{"name": tool name, "parameters": {argument: value}}'
)

CHAT_TEMPLATE = (
    r"""
{{- bos_token }}
{%- set start = 0 %}
{%- set ns = namespace(system='') %}
{%- if messages and messages[0].role in ('system', 'developer') %}
    {%- set start = 1 %}
    {%- set ns.system = messages[0].content | trim %}
{%- endif %}
{%- if tools %}
    {%- if ns.system %}{%- set ns.system = ns.system + '\n\n' %}{%- endif %}
    {%- set ns.system = ns.system + '"""
    + TOOL_RULE
    + r"""' %}
    {%- for tool in tools %}
        {%- set spec = tool.function if tool.function is defined else tool %}
        {%- set ns.system = ns.system + '\n' + (spec | tojson) %}
    {%- endfor %}
{%- endif %}
{%- if ns.system %}
    {{- '<|start_header_id|>system<|end_header_id|>\n\n' + ns.system + '<|eot_id|>' }}
{%- endif %}
{%- for message in messages[start:] %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}
    {%- if message.tool_calls is defined and message.tool_calls %}
        {%- for call in message.tool_calls %}
            {%- set made = call.function if call.function is defined else call %}
            {%- if not loop.first %}{{- '; ' }}{%- endif %}
            {{- '{"name": ' + (made.name | tojson) + ', "parameters": ' }}
            {%- if made.arguments is string %}{{- made.arguments }}
            {%- else %}{{- made.arguments | tojson }}{%- endif %}
            {{- '}' }}
        {%- endfor %}
    {%- elif message.content is string %}
        {{- message.content | trim }}
    {%- elif message.content %}
        {%- for part in message.content %}{{- part.text | default('') | trim }}{%- endfor %}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
).lstrip("\n")


def call_text(name: str, parameters: dict[str, Any]) -> str:
    """The whole answer by which the model calls a tool."""
    return json.dumps({"name": name, "parameters": parameters}, ensure_ascii=False)


def system_text(system: str, tools: list[dict[str, Any]]) -> str:
    """The system message: the caller's text, then the tools, as the template writes it."""
    parts = [system.strip()] if system.strip() else []
    if tools:
        lines = [json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools]
        parts.append("\n".join([TOOL_RULE, *lines]))
    return "\n\n".join(parts)
