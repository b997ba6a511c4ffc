"""Training rows: dialogues encoded and packed end to end; only the answers are to be learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .dialogue import Dialogue

SHORT, LONG = 256, 768  # row lengths, tokens; most dialogues fit the short one
CHUNK = 64  # dialogues encoded at once
Encoded = tuple[list[int], list[bool]]


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows of T + 1 tokens: `wanted[b, t]`: is `tokens[b, t + 1]` to be predicted."""

    tokens: NDArray[np.int64]  # [B, T + 1]
    wanted: NDArray[np.bool_]  # [B, T]
    owners: NDArray[np.int32]  # [B, T], which dialogue a position belongs to

    def mask(self) -> NDArray[np.bool_]:
        """[B, 1, T, T], true where a position may look: itself and before, same dialogue."""
        length = self.owners.shape[1]
        same = self.owners[:, :, None] == self.owners[:, None, :]
        return (same & np.tri(length, dtype=bool))[:, None]


def encoded(dialogues: Iterator[Dialogue], tokenizer: Tokenizer) -> Iterator[Encoded]:
    """Token ids of each dialogue, and which of them an assistant said; too long ones are cut."""
    while True:
        parts = [next(dialogues).segments() for _ in range(CHUNK)]
        texts = [text for segments in parts for text, _ in segments]
        codes = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        for segments in parts:
            ids: list[int] = []
            said: list[bool] = []
            for _, is_answer in segments:
                piece = next(codes).ids
                ids += piece
                said += [is_answer] * len(piece)
            yield ids[: LONG + 1], said[: LONG + 1]


def packed(waiting: list[Encoded], rows: int, length: int) -> Batch:
    """Fill rows with waiting dialogues, the longest that fits first; takes them off the list."""
    waiting.sort(key=lambda one: len(one[0]))
    tokens = np.zeros((rows, length + 1), dtype=np.int64)
    wanted = np.zeros((rows, length + 1), dtype=bool)
    owners = np.full((rows, length + 1), -1, dtype=np.int32)
    for row in range(rows):
        used = owner = 0
        while True:
            room = length + 1 - used
            at = next((i for i in reversed(range(len(waiting))) if len(waiting[i][0]) <= room), -1)
            if at < 0:
                break
            ids, said = waiting.pop(at)
            end = used + len(ids)
            tokens[row, used:end] = ids
            wanted[row, used:end] = said
            owners[row, used:end] = owner
            used, owner = end, owner + 1
    return Batch(tokens, wanted[:, 1:], owners[:, :-1])


def batches(dialogues: Iterator[Dialogue], tokenizer: Tokenizer, size: int) -> Iterator[Batch]:
    """An endless stream of batches of about `size` tokens, of short rows or of long ones."""
    stream = encoded(dialogues, tokenizer)
    short: list[Encoded] = []
    long: list[Encoded] = []
    while True:
        while sum(len(ids) for ids, _ in short) < 2 * size:
            one = next(stream)
            (short if len(one[0]) <= SHORT + 1 else long).append(one)
        if sum(len(ids) for ids, _ in long) > size * 5 // 4:
            yield packed(long, max(1, size // LONG), LONG)
        yield packed(short, max(1, size // SHORT), SHORT)
