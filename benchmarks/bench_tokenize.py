"""Does tokenizing take time in proportion to the text, whatever repeats in it?

    python benchmarks/bench_tokenize.py [MODEL] [--chars 524288] [--rounds 3]

For each text that repeats one thing: the seconds of `--chars` characters and of twice as many, the
best of the rounds, interleaved; `growth` is their ratio, which docs/security.md (D57) wants at 2.5
at most. Through `Tokenizer.encode_text`, as prompts go.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from machine import commit, describe, result_file

from headrace.model import Tokenizer, bundled_model, open_model

REPEATS = {
    "letter": "a",
    "blank": " ",
    "line": "\n",
    "word": "ab ",
    "accent": "é",
    "ideograph": "水",
    "half a control token": "<|",
}


def main() -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=bundled_model())
    parser.add_argument("--chars", type=int, default=1 << 19)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep it in results/, too")
    given = parser.parse_args()
    tokenizer = open_model(given.model).tokenizer
    result = {
        "question": __doc__.splitlines()[0],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": describe(),
        "model": given.model.name,
        "chars": given.chars,
        "texts": {
            name: _growth(tokenizer, piece, given.chars, given.rounds)
            for name, piece in REPEATS.items()
        },
    }
    print(json.dumps(result, indent=1))
    if given.keep:
        result_file(Path(__file__).parent / "results", "tokenize").write_text(
            json.dumps(result, indent=1) + "\n"
        )
    return 0


def _growth(tokenizer: Tokenizer, piece: str, chars: int, rounds: int) -> dict[str, float]:
    once = piece * (chars // len(piece))
    best = {1: float("inf"), 2: float("inf")}
    for _ in range(rounds):
        for times in best:
            text = once * times
            began_s = time.perf_counter()
            tokenizer.encode_text(text)
            best[times] = min(best[times], time.perf_counter() - began_s)
    return {"once_s": best[1], "twice_s": best[2], "growth": best[2] / best[1]}


if __name__ == "__main__":
    sys.exit(main())
