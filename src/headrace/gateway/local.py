"""The local engine as a provider: text in front, token ids behind.

Chat template, tokenizing, detokenizing and stop strings happen on this side of the engine, which
sees token ids only.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

import headrace.errors as errors
from headrace.config import ModelConfig
from headrace.engine import EngineClient
from headrace.engine.messages import Stats, Submit
from headrace.gateway.answer import Answer
from headrace.gateway.base import ModelCard, Tokenized
from headrace.gateway.choices import choice_events, choices_of, events_of
from headrace.gateway.echo import Echo
from headrace.gateway.prompts import Prompts
from headrace.model import LanguageModel
from headrace.model.answer_format import AnswerReader
from headrace.model.program import Program
from headrace.types import (
    Request,
    SamplingParams,
    TokenEvent,
    TokenizeRequest,
)

Number = TypeVar("Number", int, float)

Progress = Callable[[int, int], None]  # bytes loaded so far, bytes in all

PROMPT_END_TOKENS = 16  # of a prompt, where a template may have opened a thought


class LocalModel:
    """One model in text: what stands between its callers and its engine."""

    def __init__(
        self,
        model: LanguageModel,
        engine: EngineClient,
        *,
        settings: ModelConfig | None = None,
        draw_seed: Callable[[], int] = lambda: secrets.randbits(64),
    ) -> None:
        """`settings`: what the operator says about it."""
        self.engine = engine
        self.prompts = Prompts(model)
        self._model = model
        self._settings = settings or ModelConfig()
        self.aliases = self._settings.aliases
        self.organisations = self._settings.organisations  # whose alone it is; (): everybody's
        self._draw_seed = draw_seed
        self._card: ModelCard | None = None

    @property
    def card(self) -> ModelCard:
        """What callers may know; known once the engine has started."""
        if self._card is None or self._card.context_tokens != self.engine.started.context_tokens:
            self._card = ModelCard(
                id=self._model.name,
                created=int(self._model.created_unix),
                owned_by="headrace",
                context_tokens=self.engine.started.context_tokens,
                parameters=self._model.program.num_parameters,
                backend=self.engine.started.backend,
                quantization=_quantization(self._model.precision),
                description=self._settings.description,
                hugging_face_id=self._settings.hugging_face_id,
                thinks=self._model.answers.thinks,
                organisations=self.organisations,
            )
        return self._card

    @property
    def program(self) -> Program:
        """What it computes."""
        return self._model.program

    @property
    def language_model(self) -> LanguageModel:
        """What it was opened as."""
        return self._model

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Its own, and one for each of its other names."""
        card = self.card
        return (
            card,
            *(replace(card, id=name, alias_of=card.id) for name in self.aliases),
        )

    async def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
        """Complete `request`; see `gateway.base.Provider.stream`."""
        prompt = request.prompt_ids
        if prompt is None:
            prompt = await self.prompts.ids(request)
        context = min(self.card.context_tokens, request.context_tokens or self.card.context_tokens)
        room = context - len(prompt)
        if room < 1:
            field = "messages" if request.prompt is None else "prompt"
            raise errors.ContextTooLong(len(prompt), context, param=field)
        is_thinking = request.prompt is None and self._is_thinking(prompt)
        asked = self._submit(request, prompt, room, is_thinking=is_thinking)
        text = await self.prompts.echo(request, prompt)
        has_logprobs = request.echo and request.logprobs is not None
        echo = Echo(self._model.tokenizer, prompt, text, has_logprobs=has_logprobs)
        answers = [
            self._answer(request, len(prompt), len(text), is_thinking=is_thinking)
            for _ in range(request.n)
        ]
        with _grammar_named(request):
            if request.n > 1:
                runs = [self.engine.run(each) for each in choices_of(asked, request.n)]
                async with aclosing(choice_events(runs, answers, echo)) as events:
                    async for event in events:
                        yield event
                return
            async with aclosing(self.engine.run(asked)) as messages:
                async for message in messages:
                    for event in events_of(message, answers[0], echo):
                        yield event
                        if event.finish is not None:
                            return

    @cached_property
    def _default_sampling(self) -> SamplingParams:
        """What the operator says, else the checkpoint."""
        said, default = self._settings, self._model.default_sampling
        return replace(
            default,
            temperature=_either(said.temperature, default.temperature),
            top_k=_either(said.top_k, default.top_k),
            top_p=_either(said.top_p, default.top_p),
            min_p=_either(said.min_p, default.min_p),
        )

    def _is_thinking(self, prompt: Sequence[int]) -> bool:
        """Whether the template has opened a thought for the model to go on with."""
        if not self._model.answers.thinks:
            return False
        tokenizer = self._model.tokenizer
        end = prompt[-PROMPT_END_TOKENS:]
        spelled = (
            tokenizer.control.spelling(token_id).encode() or tokenizer.token_bytes(token_id)
            for token_id in end
        )
        return self._model.answers.is_thinking(b"".join(spelled).decode("utf-8", "replace"))

    def _answer(
        self, request: Request, prompt_tokens: int, start: int, *, is_thinking: bool
    ) -> Answer:
        return Answer(
            self._model.tokenizer,
            request,
            prompt_tokens=prompt_tokens,
            reader=self._reader(request, is_thinking=is_thinking),
            start=start,
        )

    def _reader(self, request: Request, *, is_thinking: bool) -> AnswerReader | None:
        """Who tells thoughts and calls from text, if there can be any."""
        if request.prompt is not None:
            return None  # what goes on with a text is text
        return self._model.answers.reader(request, new_call_id, is_thinking=is_thinking)

    def _submit(
        self, request: Request, prompt: Sequence[int], room: int, *, is_thinking: bool
    ) -> Submit:
        sampling, default = request.sampling, self._default_sampling
        seed = self._draw_seed() if sampling.seed is None else sampling.seed
        vocab = self._model.program.vocab_size
        for token_id, _ in sampling.logit_bias:
            if token_id >= vocab:
                raise errors.InvalidRequest(
                    f"logit_bias: {token_id} is no token of this model, whose last is {vocab - 1}",
                    param="logit_bias",
                )
        # An engine draws one token at least; when none is asked for, `Answer` leaves it out.
        most = max(1, min(_first(request.max_tokens, self._settings.max_tokens, room), room))
        return Submit(
            id=request.id,
            prompt=tuple(prompt),
            max_tokens=most,
            stop_ids=self._model.stop_ids,
            temperature=_first(sampling.temperature, default.temperature, 1.0),
            top_k=min(_first(sampling.top_k, default.top_k, 0), self._model.program.vocab_size),
            top_p=_first(sampling.top_p, default.top_p, 1.0),
            min_p=_first(sampling.min_p, default.min_p, 0.0),
            seed=seed % (1 << 64),
            frequency_penalty=sampling.frequency_penalty,
            presence_penalty=sampling.presence_penalty,
            logit_bias=sampling.logit_bias,
            min_tokens=most if request.min_tokens is None else min(request.min_tokens, most),
            logprobs=-1 if request.logprobs is None else request.logprobs,
            scores_prompt=request.echo and request.logprobs is not None,
            tenant=request.tenant,
            weight=request.terms.weight,
            group=request.terms.group,
            reserved=request.terms.reserved,
            kept=request.terms.kept,
            priority=request.terms.priority,
            deadline_s=request.terms.timeout_s,
            max_queue_s=request.terms.max_queue_s,
            grammar=self._model.answers.grammar(request, is_thinking=is_thinking),
        )


def new_call_id() -> str:
    """An id for a call: nine letters and digits, which is all that Mistral's templates take."""
    return secrets.token_hex(5)[:9]


@contextmanager
def _grammar_named(request: Request) -> Generator[None]:
    """An error of the answer's grammar names the field it was made of."""
    try:
        yield
    except errors.InvalidRequest as exc:
        if exc.param == "response_format" and request.format is None:
            exc.param = "tools"
        raise


class LocalProvider:
    """The models of this machine, by name."""

    def __init__(self, models: Mapping[str, LocalModel]) -> None:
        self._models = models
        self._aliases = {name: model for model in models.values() for name in model.aliases}

    @property
    def models(self) -> tuple[ModelCard, ...]:
        """The models served, in the order they were named, each followed by its aliases."""
        return tuple(card for model in self._models.values() for card in model.cards)

    @property
    def ready(self) -> bool:
        """Whether every engine serves."""
        return all(model.engine.is_ready for model in self._models.values())

    @property
    def programs(self) -> Mapping[str, Program]:
        """What the models compute that are everybody's, by their own names."""
        return {
            name: model.program for name, model in self._models.items() if not model.organisations
        }

    @property
    def public(self) -> Mapping[str, LocalModel]:
        """The models that are everybody's, by their own names."""
        return {name: model for name, model in self._models.items() if not model.organisations}

    @property
    def stats(self) -> Mapping[str, Stats]:
        """The engines' counters, by model."""
        return {name: model.engine.stats for name, model in self._models.items()}

    async def start(self, progress: Callable[[str], Progress] | None = None) -> None:
        """Start the engines, one after the other; returns when each has decoded.

        `progress(name)` gives the callback that follows the loading of that model. Raises what
        `EngineClient.start` raises.
        """
        for name, model in self._models.items():
            await model.engine.start(progress(name) if progress else None)

    async def stop(self) -> None:
        """Stop the engines; streams that still run end with Draining. May be called twice."""
        await asyncio.gather(*(model.engine.stop() for model in self._models.values()))

    def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
        """Complete `request`; see `gateway.base.Provider.stream`."""
        return self._model(request.model).stream(request)

    async def prepared(self, request: Request) -> Request:
        """The request with its token ids; see `gateway.base.Provider.prepared`."""
        ids = await self._model(request.model).prompts.ids(request)
        return replace(request, prompt_ids=ids)

    async def tokenize(self, asked: TokenizeRequest) -> Tokenized:
        """The token ids of a prompt; see `gateway.base.Provider.tokenize`."""
        model = self._model(asked.model)
        return await model.prompts.tokenize(asked, model.card.context_tokens)

    async def detokenize(self, model: str, token_ids: tuple[int, ...]) -> str:
        """The text that token ids write; see `gateway.base.Provider.detokenize`."""
        return await self._model(model).prompts.text(token_ids)

    def _model(self, name: str) -> LocalModel:
        found = self._models.get(name) or self._aliases.get(name)
        if found is None:
            raise errors.UnknownModel(name)
        return found


def _quantization(precision: str) -> str:
    """`LanguageModel.precision` in a word: "bf16", "fp16", or nothing when it takes more."""
    word = precision.partition(",")[0]
    return word if word in ("bf16", "fp16") else ""


def _either(said: Number | None, default: Number | None) -> Number | None:
    return default if said is None else said


def _first(asked: Number | None, checkpoint: Number | None, otherwise: Number) -> Number:
    """What the caller asked for, else what the checkpoint suggests, else the plain value."""
    if asked is not None:
        return asked
    return otherwise if checkpoint is None else checkpoint
