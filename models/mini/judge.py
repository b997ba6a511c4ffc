"""The frozen evaluation: items of `eval/*.jsonl`, greedy answers, and what counts as right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from . import words
from .network import Network
from .template import BEGIN, CHAT_TEMPLATE, END, TURN_END

LONGEST = 320  # tokens an answer may have before it counts as not ending


@dataclass(frozen=True, slots=True)
class Verdict:
    """One item's answer and whether it was right; an answer that never ends is wrong."""

    item: dict[str, Any]
    answer: str
    tokens: int
    right: bool


def items(folder: Path) -> Iterator[dict[str, Any]]:
    """Every evaluation item, in a fixed order."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def renderer() -> Callable[..., str]:
    """The chat template as servers run it: sandboxed, JSON unsorted and unescaped."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(CHAT_TEMPLATE)
    return lambda **given: template.render(bos_token=BEGIN, add_generation_prompt=True, **given)


@torch.inference_mode()
def greedy(network: Network, tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The most likely answer, without its end token; LONGEST tokens when it did not end."""
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    ends = {tokenizer.token_to_id(TURN_END), tokenizer.token_to_id(END)}
    start = len(ids)
    last = torch.zeros(1, 1, dtype=torch.bool)
    while len(ids) - start < LONGEST:
        wanted = torch.nn.functional.pad(last, (len(ids) - 1, 0), value=False)
        wanted[0, -1] = True
        token = int(network(torch.tensor([ids]), None, wanted).argmax())
        if token in ends:
            break
        ids.append(token)
    return ids[start:]


def _listed(answer: str, group: str, count: int) -> bool:
    """Whether the answer names exactly `count` different members of a group of words."""
    members = {name.casefold() for name in getattr(words, group)}
    plain = answer.casefold().replace(" and ", ", ").replace("\n", ",").strip(" .")
    named = [part.strip(" .-0123456789") for part in plain.split(",")]
    return len(named) == count == len(set(named)) and set(named) <= members


def _parsed(answer: str) -> object:
    try:
        return json.loads(answer)
    except json.JSONDecodeError:
        return None


def is_right(expect: dict[str, Any], answer: str, tokens: int) -> bool:
    """Apply an item's expectations; all of them must hold."""
    low = answer.casefold()
    checks = [
        "any" not in expect or any(text.casefold() in low for text in expect["any"]),
        all(text.casefold() in low for text in expect.get("all", [])),
        not any(text.casefold() in low for text in expect.get("none", [])),
        "exact" not in expect or low.strip(" .!\"'") == expect["exact"].casefold(),
        "json" not in expect or _parsed(answer) == expect["json"],
        "call" not in expect or _parsed(answer) == expect["call"],
        "members" not in expect or _listed(answer, expect["members"], expect["count"]),
        expect.get("min_tokens", 0) <= tokens <= expect.get("max_tokens", LONGEST - 1),
    ]
    return all(checks)


def judge(network: Network, tokenizer: Tokenizer, folder: Path) -> Iterator[Verdict]:
    """Answer every item; the user turns of a dialogue are answered one after the other."""
    render = renderer()
    for item in items(folder):
        said: list[dict[str, Any]] = []
        pending = item["messages"]
        scripted = any(message["role"] == "assistant" for message in pending)
        answer, tokens = "", 0
        for at, message in enumerate(pending):
            said.append(message)
            if message["role"] != "user" and at < len(pending) - 1:
                continue
            if scripted and at < len(pending) - 1:
                continue
            prompt = render(messages=said, tools=item.get("tools"))
            ids = greedy(network, tokenizer, prompt)
            answer, tokens = tokenizer.decode(ids, skip_special_tokens=False), len(ids)
            said.append({"role": "assistant", "content": answer})
        right = tokens < LONGEST and is_right(item["expect"], answer, tokens)
        yield Verdict(item, answer, tokens, right)
