"""What goes out of POST /v1/completions: whole answers, and the chunks of streamed ones."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headrace.api.answers import AnswerHead, Tally
from headrace.api.schemas import StreamUsage
from headrace.api.sse import ChunkTemplate
from headrace.types import FinishReason, TokenEvent, TokenLogprob, Usage

KIND = "text_completion"

_encode = msgspec.json.Encoder().encode


class CompletionChoice:
    """A choice of a whole answer, put together from its events."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._num_prompt = 0  # of them: the prompt's, echoed
        self._finish: FinishReason | None = None

    def add(self, event: TokenEvent) -> None:
        """Append one event of this choice."""
        self._texts.append(event.text)
        self._token_ids += event.token_ids
        self._logprobs += event.logprobs
        self._num_prompt += len(event.logprobs) if event.is_prompt else 0
        self._finish = event.finish or self._finish

    @property
    def likelihood(self) -> float:
        """Mean log-probability of its own tokens: what the best of several is best by."""
        own = self._logprobs[self._num_prompt :]
        each = [token.logprob for token in own if token.logprob is not None]
        return sum(each) / len(each) if each else 0.0

    def object(self, index: int, *, has_logprobs: bool, raw_tokens: bool) -> dict[str, Any]:
        """The member of `choices`."""
        return {
            "index": index,
            "text": "".join(self._texts),
            "finish_reason": self._finish,
            "logprobs": legacy_logprobs(self._logprobs) if has_logprobs else None,
            **({"tokens": self._token_ids} if raw_tokens else {}),
        }


def best_choices(
    choices: Sequence[CompletionChoice], *, tried: int, n: int
) -> Sequence[CompletionChoice]:
    """Of every `tried` choices the likeliest `n`, likeliest first; all, in order, if it is all."""
    if tried == n:
        return choices
    best: list[CompletionChoice] = []
    for start in range(0, len(choices), tried):
        of_prompt = choices[start : start + tried]
        best += sorted(of_prompt, key=lambda choice: -choice.likelihood)[:n]
    return best


def text_completion(
    head: AnswerHead,
    choices: Sequence[CompletionChoice],
    tally: Tally,
    *,
    has_logprobs: bool,
    raw_tokens: bool,
) -> dict[str, Any]:
    """The answer of a completions request without `stream`; `choices` prompt by prompt."""
    objects = [
        choice.object(index, has_logprobs=has_logprobs, raw_tokens=raw_tokens)
        for index, choice in enumerate(choices)
    ]
    return {**head.opening(KIND), "choices": objects, **head.closing(tally)}


class CompletionTemplate(ChunkTemplate):
    """The chunks of one stream. Usage comes as in chat."""

    kind = KIND

    def __init__(
        self, head: AnswerHead, usage: StreamUsage, choices: int, *, raw_tokens: bool
    ) -> None:
        super().__init__(head, usage, choices)
        self.shows_silent = raw_tokens
        self._starts = [
            b'data: %b,"choices":[{"index":%d,"text":' % (self._opening, index)
            for index in range(choices)
        ]
        self._rest = b',"finish_reason":null,"logprobs":null}]' + self._tail
        self._between = [self._rest + start for start in self._starts]

    def roles(self, prompt: Usage | None) -> list[bytes]:
        """None: a text has no speaker."""
        del prompt
        return []

    def text(self, event: TokenEvent) -> bytes:
        """A piece of the answer: a chunk for each token that wrote something.

        With log-probabilities, or token ids, one chunk that has those of its tokens too.
        """
        start = self._starts[event.choice]
        if not event.logprobs and not self.shows_silent:
            texts = map(_encode, filter(None, event.parts) if event.parts else (event.text,))
            return start + self._between[event.choice].join(texts) + self._rest
        fields: dict[str, Any] = {
            "finish_reason": None,
            "logprobs": legacy_logprobs(event.logprobs) if event.logprobs else None,
        }
        if self.shows_silent:
            fields["tokens"] = event.token_ids
        return start + _encode(event.text) + b"," + _encode(fields)[1:] + b"]" + self._tail

    def end(self, choice: int, reason: FinishReason) -> bytes:
        """The end of a choice, up to what may follow `choices`."""
        return self._starts[choice] + b'"","finish_reason":%b,"logprobs":null}]' % _encode(reason)


def legacy_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The `logprobs` of a choice, or of one chunk of it: an array for each kind of fact.

    `top_logprobs` has the token itself too, so it may have one more than was asked for. A prompt's
    first token has null in place of both.
    """
    known = list(tokens)
    return {
        "tokens": [_spelling(token) for token in known],
        "token_logprobs": [token.logprob for token in known],
        "top_logprobs": [_alternatives(token) for token in known],
        "text_offset": [token.start for token in known],
    }


def _alternatives(token: TokenLogprob) -> dict[str, float | None] | None:
    if token.logprob is None:
        return None
    return {_spelling(other): other.logprob for other in (*token.top, token)}


def _spelling(token: TokenLogprob) -> str:
    """Its text; of a part of a character its bytes, spelled so that no two are the same."""
    if token.data is None or "\N{REPLACEMENT CHARACTER}" not in token.token:
        return token.token
    try:
        return token.data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.data)
