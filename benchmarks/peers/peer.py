"""What every peer's side of `bench_peers.py` shares: its commands and how it is timed.

    peer-python X_peer.py info
    peer-python X_peer.py prepare MODEL FOLDER --variant NAME
    peer-python X_peer.py decode PREPARED --variant NAME --prompt ids.json --output-tokens 128
    peer-python X_peer.py verify PREPARED --variant NAME --prompt ids.json --expect logits.npy

Each prints one JSON object. It runs in the peer's own environment: nothing of Headrace is imported,
and nothing but NumPy besides the peer. A peer is driven by token ids, greedily, end tokens ignored.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

WARM_UP_PROMPT = 128  # tokens of the prompt, at most: a warm-up need not read a long one
WARM_UP_OUTPUT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How to load what was prepared."""

    prepared: Path
    variant: str
    context_tokens: int  # prompt and output together
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One greedy continuation, and how long it took by the peer's own account."""

    token_ids: list[int]
    first_s: float  # from the prompt to the first token
    rest_s: float  # from the first token to the last


class Engine(Protocol):
    """A loaded peer."""

    def generate(self, prompt: list[int], output_tokens: int) -> Generation:
        """Continue `prompt` from nothing: no earlier prompt may be found in a cache."""
        ...

    def logits(self, prompt: list[int], rows: int) -> np.ndarray:
        """Logits [rows, V] at the last `rows` positions of `prompt`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What a peer file says of its engine; `variants` are the ways to run it that are timed."""

    variants: tuple[str, ...]
    versions: Callable[[], dict[str, str]]
    prepare: Callable[[Path, Path, str], Path]  # model, folder to write to, variant: what to load
    load: Callable[[Wanted], Engine]
    exact: str | None = None  # a variant that computes in float32, to verify with


def main(peer: Peer) -> None:
    """Do one thing, print one JSON object on what was standard output."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # engines print as they please
    given = _arguments(peer)
    if given.what == "info":
        result = {"variants": peer.variants, "exact": peer.exact, "versions": peer.versions()}
    elif given.what == "prepare":
        model, folder = given.paths
        result = {"prepared": str(peer.prepare(model, folder, given.variant))}
    else:
        prompt = json.loads(given.prompt.read_text())
        engine = peer.load(
            Wanted(
                prepared=given.paths[0],
                variant=given.variant,
                context_tokens=len(prompt) + given.output_tokens,
                threads=given.threads,
            )
        )
        if given.what == "verify":
            result = verify(engine, prompt, np.load(given.expect))
        else:
            result = decode(engine, prompt, given.output_tokens, given.runs)
    out.write(json.dumps(result) + "\n")
    out.flush()
    os._exit(0)  # some engines hang or crash when Python takes them apart


def _arguments(peer: Peer) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("info", "prepare", "decode", "verify"))
    parser.add_argument("paths", type=Path, nargs="*")
    parser.add_argument("--variant", default=peer.variants[0])
    parser.add_argument("--prompt", type=Path)
    parser.add_argument("--expect", type=Path)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.variant not in (*peer.variants, peer.exact):
        parser.error(f"no variant {given.variant}; there are {', '.join(peer.variants)}")
    return given


def decode(engine: Engine, prompt: list[int], output_tokens: int, runs: int) -> dict[str, Any]:
    """Medians over `runs` after a warm-up; the first token is not part of decoding."""
    engine.generate(prompt[-WARM_UP_PROMPT:], min(output_tokens, WARM_UP_OUTPUT))
    speeds, prefills = [], []
    for _ in range(runs):
        done = engine.generate(prompt, output_tokens)
        if len(done.token_ids) != output_tokens:
            raise SystemExit(f"{len(done.token_ids)} tokens came, not {output_tokens}")
        speeds.append((output_tokens - 1) / done.rest_s)
        prefills.append(len(prompt) / done.first_s)
    return {
        "decode_tok_s": statistics.median(speeds),
        "prefill_tok_s": statistics.median(prefills),
    }


def verify(engine: Engine, prompt: list[int], expected: np.ndarray) -> dict[str, Any]:
    """How far the peer's logits are from `expected` [rows, V], those of the reference backend.

    Differences are shares of the expected row's standard deviation; what shifts a whole row does
    not count, since no choice depends on it.
    """
    found = engine.logits(prompt, len(expected)).astype(np.float64)
    scale = expected.std(axis=1, dtype=np.float64, keepdims=True)
    off = (found - expected) / scale
    off -= off.mean(axis=1, keepdims=True)
    return {
        "positions": len(expected),
        "same_choice": int((found.argmax(axis=1) == expected.argmax(axis=1)).sum()),
        "mean_difference": float(np.sqrt((off**2).mean())),
        "median_difference": float(np.median(np.sqrt((off**2).mean(axis=1)))),  # of positions
        "largest_difference": float(np.abs(off).max()),
    }
