"""Tokens of answers by tokenizers, when the answers are over.

It takes milliseconds an answer: a loop that counted while others still stream would be late itself.
"""

from bisect import bisect_right
from dataclasses import replace
from itertools import accumulate

from headrace.bench.client.answer import Answer, Piece
from headrace.bench.client.tokens import TokenEnds

_MAX_DIFFERENCE = 0.02  # of usage from our own count, before it is worth a word


def counted(answer: Answer, *, own: TokenEnds | None, common: TokenEnds | None) -> Answer:
    """The answer with its tokens counted by `own`, the model's tokenizer, where usage of each event
    does not say what they hold; and all of them by `common`, which counts all endpoints alike and
    stands in where there is no usage at all."""
    if not answer.pieces:
        return answer
    if common is not None:
        answer = _alike(answer, common)
    if answer.counts == "usage":
        return answer
    if own is not None:
        return _by(answer, own, "tokenizer")
    if common is not None and not answer.has_usage:
        return _by(answer, common, "counter")
    return answer


def _by(answer: Answer, ends_of: TokenEnds, name: str) -> Answer:
    """Each piece holds the tokens that end in it."""
    ends = ends_of("".join(piece.text for piece in answer.pieces))
    sums = [bisect_right(ends, at) for at in accumulate(len(p.text) for p in answer.pieces)]
    steps = zip(answer.pieces, [0, *sums], sums, strict=False)
    pieces: tuple[Piece, ...] = tuple(replace(p, tokens=float(b - a)) for p, a, b in steps)
    total, told = float(len(ends)), answer.output_tokens
    return replace(
        answer,
        pieces=pieces,
        counts=name,
        output_tokens=told if answer.has_usage else total,
        usage_differs=answer.has_usage and abs(total - told) > _MAX_DIFFERENCE * told > 0,
    )


def _alike(answer: Answer, ends_of: TokenEnds) -> Answer:
    ends = ends_of("".join(piece.text for piece in answer.pieces))
    first_s = answer.pieces[0].at_s
    first = sum(len(piece.text) for piece in answer.pieces if piece.at_s == first_s)
    after = len(ends) - bisect_right(ends, first)
    return replace(answer, common_tokens=len(ends), common_after_first=after)
