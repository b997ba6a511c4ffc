"""The same weights, the same logits: a fast backend against the reference, on one checkpoint.

Two things are held. Every matrix that lies packed in memory is unpacked and compared with the
checkpoint, bit by bit. Then both backends read a prompt and follow the reference's greedy path:
logits stay within the bound that `backends.cpu` states, and the drawn token is the same wherever
the reference's margin is wider than the bound allows to tip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.backends.base import BLOCK_TOKENS, Backend, Batch, Sampling, Weights
from headrace.backends.cpu import CpuBackend, relative_error_bound
from headrace.backends.reference import ReferenceBackend
from headrace.model import open_model
from headrace.model.precision import Stored
from headrace.prove.point import Point, first_of

# Text, and not ids drawn at random: what no network was trained on is amplified beyond the bound.
PROMPT = """\
A headrace is the channel that leads water from a river to the wheel of a mill. At its upper end a
weir holds the river back, and a sluice lets in as much as the wheel can use. What the miller does
not need runs past him over the weir. A good channel is short, smooth and straight, so that little
is lost on the way."""
PROMPT_TOKENS = 64  # of it
GREEDY_TOKENS = 32
_CONTEXT = PROMPT_TOKENS + GREEDY_TOKENS
_BLOCKS = -(-_CONTEXT // BLOCK_TOKENS)


class Packed(Backend, Protocol):
    """A backend that gives weights back as the checkpoint had them."""

    def unpack(self, name: str) -> Stored:
        """The matrix `name`."""
        ...


@dataclass(slots=True)
class _Seen:
    worst: float = 0.0  # error over the row's rms
    clear: int = 0  # greedy steps whose margin decides
    unlike: list[int] = field(default_factory=list[int])  # of them, where the tokens differ


def compare(
    backend: Packed, reference: Backend, weights: Weights, *, prompt: Sequence[int], command: str
) -> Point:
    """Hold `backend` to `reference` and to the checkpoint's `weights`."""
    bound = relative_error_bound(reference.program, weights)
    matrices = [name for name, each in reference.program.weights().items() if len(each.shape) > 1]
    changed = [name for name in matrices if not _is_unchanged(backend, weights, name)]
    seen = _follow(backend, reference, prompt, bound)
    faults = [f"the packed bits of {name} are not the checkpoint's" for name in changed]
    if not seen.worst <= bound:
        faults.append(f"a logit is off by {seen.worst:.1%} of its row, more than {bound:.1%}")
    faults += [f"greedy token {step} is another" for step in seen.unlike]
    if not seen.clear:
        faults.append("too little was tried: no greedy step has a clear margin")
    return Point(
        name="parity",
        claim="The fast backend multiplies the checkpoint's own bits, and its logits are those of "
        "the reference backend (NumPy, float32) within the stated bound.",
        faults=first_of(faults),
        facts=(
            ("matrices compared bit by bit", f"{len(matrices):,}"),
            ("rows of logits compared", f"{len(prompt) + GREEDY_TOKENS - 1:,}"),
            ("largest error, of the row's rms", f"{seen.worst:.2%} (bound {bound:.2%})"),
            ("greedy tokens with a clear margin", f"{seen.clear} of {GREEDY_TOKENS}, all the same"
             if not seen.unlike else f"{seen.clear} of {GREEDY_TOKENS}"),
        ),
        command=command,
    )  # fmt: skip


def _is_unchanged(backend: Packed, weights: Weights, name: str) -> bool:
    stored = weights[name][:]
    found = backend.unpack(name)
    if stored.dtype != found.dtype or stored.shape != found.shape:
        return False
    return np.array_equal(stored.view(np.uint8), np.ascontiguousarray(found).view(np.uint8))


def _follow(backend: Backend, reference: Backend, prompt: Sequence[int], bound: float) -> _Seen:
    seen = _Seen()
    piece, start = list(prompt), 0
    for step in range(GREEDY_TOKENS):
        batch = _batch(piece, start)
        want, got = reference.step(batch), backend.step(batch)
        assert want.logits is not None
        assert got.logits is not None
        scale = np.sqrt(np.mean(want.logits.astype(np.float64) ** 2, axis=-1))
        error = np.abs(got.logits - want.logits).max(axis=-1) / scale
        seen.worst = max(seen.worst, float(error.max())) if np.isfinite(error).all() else np.inf
        second, best = np.sort(want.logits[-1])[-2:]
        if best - second > 2 * bound * scale[-1]:
            seen.clear += 1
            if got.token_ids[-1] != want.token_ids[-1]:
                seen.unlike.append(step)
        start += len(piece)
        piece = [int(want.token_ids[-1])]  # both go the reference's way
    return seen


def _batch(token_ids: Sequence[int], start: int) -> Batch:
    rows = len(token_ids)
    table: NDArray[np.int32] = np.arange(_BLOCKS, dtype=np.int32).reshape(1, _BLOCKS)
    return Batch(
        token_ids=np.array(token_ids, np.int32),
        positions=np.arange(start, start + rows, dtype=np.int32),
        row_sequence=np.zeros(rows, np.int32),
        block_tables=table,
        sample_rows=np.arange(rows, dtype=np.int32),
        sampling=Sampling.greedy(rows),
        want_logits=True,
    )


def prove_parity(model: Path, again: str) -> Point:
    """Load the checkpoint on both backends and compare; needs its size in float32 besides.

    `again`: the command without what is this point's.
    """
    opened = open_model(model)
    prompt = opened.tokenizer.encode_prompt(PROMPT)[:PROMPT_TOKENS]
    reference = ReferenceBackend(opened.program, opened.weights, num_blocks=_BLOCKS)
    backend = CpuBackend(opened.program, opened.weights, num_blocks=_BLOCKS)
    try:
        return compare(
            backend,
            reference,
            opened.weights,
            prompt=prompt,
            command=f"{again} --only parity",
        )
    finally:
        backend.close()
