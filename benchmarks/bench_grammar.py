"""What does structured output cost? Tokens per second under a grammar against free text.

    python benchmarks/bench_grammar.py [MODEL] [--rounds 5] [--tokens 256]

One stream over loopback from a running `headrace serve`, greedy, the same prompt. Rounds alternate
between free text (which may make several steps in a call), free text that may not (for its
log-probabilities each token is a call of its own), an array of strings by a schema, and any text by
a regular expression, which forces no token and so shows what masks cost. Speed is the server's own:
completion tokens over `completion_time`. `first_mask_ms` is the time to the first token with a new
schema of 200 properties each time, compiled and masked, less that without one. `longest_gap_ms` is
the longest silence of a free stream, alone and while such schemas are compiled one after the other.
Take a model that does not end its turn by itself (`tools/make_random_checkpoint.py`).
"""

import argparse
import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from loopback_client import serving
from loopback_reader import chat, read_streams
from machine import commit, describe, result_file

from headrace.model import bundled_model

PROPERTIES = 200
STRINGS: dict[str, Any] = {
    "type": "object",
    "properties": {"lines": {"type": "array", "items": {"type": "string"}}},
    "required": ["lines"],
    "additionalProperties": False,
}


def main() -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=bundled_model())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--keep", action="store_true", help="keep it in results/, too")
    given = parser.parse_args()
    with (
        serving("--no-auth", str(given.model)) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=600) as client,
    ):
        kinds = {
            "free": {},
            "free_one_step": {"logprobs": True},
            "schema": {"response_format": _format(STRINGS)},
            "unforced": {"response_format": {"type": "regex", "regex": "(.|\\n)*"}},
        }
        speeds: dict[str, list[float]] = {name: [] for name in kinds}
        for number in range(given.rounds + 1):
            for name, fields in kinds.items():
                speed = _speed(client, given, number, fields)
                if number > 0:  # the first warms up
                    speeds[name].append(speed)
        firsts = {"free": list[float](), "schema": list[float]()}
        for number in range(given.rounds + 1):
            for name in firsts:
                fields = {"response_format": _format(_wide(number))} if name == "schema" else {}
                first_s = _first_s(client, given, number, fields)
                if number > 0:
                    firsts[name].append(first_s)
        gaps = {
            name: [
                _gap_s(client, server.port, given, number, beside) for number in range(given.rounds)
            ]
            for name, beside in (("alone", False), ("beside_compiles", True))
        }
    medians = {name: statistics.median(rates) for name, rates in speeds.items()}
    report = {
        "question": "what structured output costs",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "commit": commit(),
        "model": given.model.name,
        "tokens": given.tokens,
        "rounds": given.rounds,
        "tok_s": medians,
        **{
            f"{name}_over_{other}": _ratio(speeds[name], speeds[other])
            for name in ("schema", "unforced")
            for other in ("free", "free_one_step")
        },
        "first_mask_ms": 1e3
        * (statistics.median(firsts["schema"]) - statistics.median(firsts["free"])),
        "longest_gap_ms": {name: 1e3 * max(each) for name, each in gaps.items()},
        "first_token_ms": {name: 1e3 * statistics.median(s) for name, s in firsts.items()},
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    if given.keep:
        file = result_file(Path(__file__).parent / "results", f"grammar-{given.model.name}")
        file.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _ratio(rates: list[float], others: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(rates, others, strict=True))


def _format(schema: dict[str, Any]) -> dict[str, Any]:
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": named}


def _wide(number: int) -> dict[str, Any]:
    """A schema nobody has seen."""
    kinds = ({"type": "string"}, {"type": "integer"}, {"enum": ["a", "b"]}, {"type": "boolean"})
    properties = {f"p{number}_{i}": kinds[i % len(kinds)] for i in range(PROPERTIES)}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _asked(given: argparse.Namespace, number: int, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": given.model.name,
        "messages": [{"role": "user", "content": f"Write many lines, please. {number}"}],
        "temperature": 0,
        "max_completion_tokens": given.tokens,
        "ignore_eos": True,
        **fields,
    }


def _speed(
    client: httpx.Client, given: argparse.Namespace, number: int, fields: dict[str, Any]
) -> float:
    answer = client.post("/v1/chat/completions", json=_asked(given, number, fields))
    said = answer.raise_for_status().json()
    return (said["usage"]["completion_tokens"] - 1) / said["time_info"]["completion_time"]


def _gap_s(
    client: httpx.Client, port: int, given: argparse.Namespace, number: int, beside: bool
) -> float:
    """The longest silence of a stream, maybe with a new schema compiled all the time."""
    with ThreadPoolExecutor(1) as thread:
        body = chat(given.model.name, f"Go on and on. {number}", given.tokens)
        reading = thread.submit(read_streams, port, [body])
        compiled = 0
        while beside and not reading.done():
            fields = {"response_format": _format(_wide(1_000 * (number + 1) + compiled))}
            _first_s(client, given, number, fields)
            compiled += 1
        return reading.result().longest_gap_s


def _first_s(
    client: httpx.Client, given: argparse.Namespace, number: int, fields: dict[str, Any]
) -> float:
    asked = {**_asked(given, number, fields), "max_completion_tokens": 1}
    answer = client.post("/v1/chat/completions", json=asked)
    answer.raise_for_status()
    return answer.elapsed.total_seconds()


if __name__ == "__main__":
    raise SystemExit(main())
