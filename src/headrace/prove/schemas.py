"""A hundred schemas drawn at random, an answer to each, and a judge that is not the grammar."""

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from headrace.bench.scenarios.schema import follows
from headrace.errors import BackendError
from headrace.prove.point import Point, first_of
from headrace.prove.server import Server

COUNT = 100
AT_ONCE = 8
MOST_TOKENS = 700
ENOUGH = 0.6  # of the answers must come to their end: of the others nothing is known
_WORDS = ("mill", "river", "wheel", "stone", "grain", "water", "race", "sluice", "weir", "pond")
_PATTERNS = ("^[A-Z]{2}[0-9]{4}$", "^(red|green|blue)$", "^[a-z]+(-[a-z]+){0,3}$")
_MOST_LEVELS = 3
SETTINGS = """
[tiers.developer]
billing = "none"
requests_per_minute = 0
tokens_per_minute = 0
"""


class Maker:
    """Draws schemas that the judge (`bench.scenarios.schema`) knows every keyword of."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 (shapes, no secrets)

    def draw(self, level: int = 0) -> dict[str, Any]:
        """An object with members that must be there, and some that may."""
        names = self._rng.sample(_WORDS, self._rng.randint(1, 4))
        return {
            "type": "object",
            "properties": {name: self._value(level + 1) for name in names},
            "required": [name for name in names if self._rng.random() < 0.7],
            "additionalProperties": False,
        }

    def _value(self, level: int) -> dict[str, Any]:
        plain = [self._text, self._number, self._choice]
        nested = [self.draw, self._array]
        return self._rng.choice(plain if level >= _MOST_LEVELS else plain + nested)(level)

    def _text(self, _: int) -> dict[str, Any]:
        if self._rng.random() < 0.5:
            return {"type": "string", "pattern": self._rng.choice(_PATTERNS)}
        least = self._rng.randint(0, 3)
        return {"type": "string", "minLength": least, "maxLength": least + self._rng.randint(0, 9)}

    def _number(self, _: int) -> dict[str, Any]:
        low = self._rng.randint(-50, 50)
        bounds = {"minimum": low, "maximum": low + self._rng.randint(1, 100)}
        return {"type": self._rng.choice(("integer", "number")), **bounds}

    def _choice(self, _: int) -> dict[str, Any]:
        values = [*self._rng.sample(_WORDS, 3), self._rng.randint(0, 9), None, True]
        return {"enum": self._rng.sample(values, self._rng.randint(1, 5))}

    def _array(self, level: int) -> dict[str, Any]:
        most = self._rng.randint(1, 3)
        return {"type": "array", "items": self._value(level + 1), "maxItems": most}


async def answers(
    url: str, key: str, model: str, schemas: Sequence[dict[str, Any]]
) -> list[str | None]:
    """The text of each answer; None: it did not come to its end. Raises BackendError."""
    gate = asyncio.Semaphore(AT_ONCE)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as client:

        async def one(number: int, schema: dict[str, Any]) -> httpx.Response:
            form = {"name": "drawn", "strict": True, "schema": schema}
            body: dict[str, Any] = {
                "model": model,
                "messages": [{"role": "user", "content": "Answer."}],
                "temperature": 1.5,
                "seed": number,
                "max_completion_tokens": MOST_TOKENS,
                "response_format": {"type": "json_schema", "json_schema": form},
            }
            async with gate:
                return await client.post("/v1/chat/completions", json=body)

        got = await asyncio.gather(*(one(n, schema) for n, schema in enumerate(schemas)))
    return [_text_of(each) for each in got]


def _text_of(got: httpx.Response) -> str | None:
    if got.status_code != 200:
        raise BackendError(f"an answer of status {got.status_code}: {got.text[:200]}")
    (choice,) = got.json()["choices"]
    return choice["message"]["content"] if choice["finish_reason"] == "stop" else None


def judged(schemas: Sequence[dict[str, Any]], texts: Sequence[str | None], command: str) -> Point:
    """Whether every answer that ended follows its schema, and enough of them ended."""
    ended = [
        (schema, text) for schema, text in zip(schemas, texts, strict=True) if text is not None
    ]
    faults = [
        f"an answer does not follow its schema: {text[:80]!r}"
        for schema, text in ended
        if not _follows(text, schema)
    ]
    if len(ended) < ENOUGH * len(schemas):
        faults.append(f"only {len(ended)} of {len(schemas)} answers came to their end")
    return Point(
        name="schemas",
        claim="Every finished answer follows the JSON schema it was asked for, whatever the "
        "model would rather say at a high temperature.",
        faults=first_of(faults),
        facts=(
            ("schemas drawn", f"{len(schemas):,}"),
            ("answers that ended", f"{len(ended):,}"),
            ("cut off by their length", f"{len(schemas) - len(ended):,}"),
        ),
        command=command,
    )


def _follows(text: str, schema: dict[str, Any]) -> bool:
    try:
        return follows(json.loads(text), schema)
    except ValueError:
        return False


def prove_schemas(model: Path, folder: Path, again: str, *, seed: int) -> Point:
    """Serve the model, ask for an answer to each of COUNT schemas, and judge them."""
    maker = Maker(seed)
    schemas = [maker.draw() for _ in range(COUNT)]
    server = Server(folder, SETTINGS, model=model, credit=1)
    with server.serving() as (_, url):
        texts = asyncio.run(answers(url, server.key, model.name, schemas))
    return judged(schemas, texts, f"{again} --only schemas --seed {seed}")
