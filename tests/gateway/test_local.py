"""The local provider: text in, text out, with the bundled tokenizer and a counting backend."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.backends.base import Backend, Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.clock import SystemClock
from headrace.config import load
from headrace.engine import Engine, EngineClient
from headrace.errors import (
    BackendError,
    CheckpointError,
    ConfigError,
    ContextTooLong,
    DeadlineExceeded,
    Draining,
    HeadraceError,
    InvalidRequest,
    QueueFull,
    UnknownModel,
)
from headrace.gateway.build import build_local
from headrace.gateway.local import LocalModel, LocalProvider
from headrace.model import LanguageModel, bundled_model, open_model
from headrace.model.marked_answers import MarkedAnswers
from headrace.types import (
    FinishReason,
    Message,
    RegexFormat,
    Request,
    Role,
    SamplingParams,
    Terms,
    TokenEvent,
    Tool,
    Toolbox,
    Usage,
)
from tests.threaded import threaded

MODEL = replace(open_model(bundled_model()), stop_ids=())
TOOLBOX = Toolbox(tools=(Tool(name="f", description="", parameters={}, strict=False),))
GREEDY = SamplingParams(temperature=0.0)


def ask(text: str = "Hello", **changes: object) -> Request:
    request = Request(
        id="r1",
        model="mini",
        messages=(Message(role=Role.USER, content=text),),
        sampling=GREEDY,
        max_tokens=12,
    )
    return replace(request, **changes)


@asynccontextmanager
async def provider(
    backend: Backend | None = None,
    *,
    max_sequences: int = 4,
    max_waiting: int = 8,
    model: LanguageModel = MODEL,
) -> AsyncGenerator[LocalProvider, None]:
    """A started provider; at the end the engine must be idle, every block free."""
    backend = backend or NullBackend(MODEL.program, num_blocks=256)
    engine = Engine(
        backend,
        SystemClock(),
        max_sequences=max_sequences,
        max_step_tokens=256,
        max_waiting=max_waiting,
    )
    client = EngineClient(threaded(lambda: engine), SystemClock(), greeting=(1, 2, 3))
    running = LocalProvider({"mini": LocalModel(model, client, draw_seed=lambda: 1234)})
    try:
        await running.start()
        yield running
        with suppress(HeadraceError):
            await client.probe()  # when it is answered, all that was said before has been heard
    finally:
        await running.stop()
    assert engine.is_idle, "a stream ended without freeing its sequence"
    engine.check_integrity()


def tool_format_of(model: LanguageModel) -> str:
    assert isinstance(model.answers, MarkedAnswers)
    return model.answers.tools.name


async def collect(running: LocalProvider, request: Request) -> list[TokenEvent]:
    async with aclosing(running.stream(request)) as events:
        return [event async for event in events]


def test_the_first_event_is_empty_and_the_last_says_how_it_ended() -> None:
    async def run() -> list[TokenEvent]:
        async with provider() as running:
            return await collect(running, ask())

    events = asyncio.run(run())
    prompt = MODEL.chat_template.render_ids(ask().messages)
    assert events[0] == TokenEvent(
        text="", usage=Usage(prompt_tokens=len(prompt), completion_tokens=0)
    )
    assert [event.finish for event in events[:-1]] == [None] * (len(events) - 1)
    last = events[-1]
    assert last.finish is FinishReason.LENGTH
    assert last.usage is not None
    assert last.timing is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(prompt), 12)
    ids = [i for event in events for i in event.token_ids]
    assert ids == [(prompt[-1] + 1 + j) % MODEL.program.vocab_size for j in range(12)]
    expected = b"".join(MODEL.tokenizer.token_bytes(i) for i in ids).decode(errors="replace")
    assert "".join(event.text for event in events) == expected


def test_a_stop_string_ends_the_text_and_frees_the_sequence() -> None:
    async def run() -> tuple[list[TokenEvent], list[TokenEvent]]:
        async with provider() as running:
            free = await collect(running, ask(max_tokens=300))
            text = "".join(event.text for event in free)
            stop = text[100:104]
            return free, await collect(running, ask(max_tokens=2000, stop=(stop, "never there")))

    free, stopped = asyncio.run(run())
    text = "".join(event.text for event in free)
    assert "".join(event.text for event in stopped) == text[: text.index(text[100:104])]
    assert stopped[-1].finish is FinishReason.STOP
    assert stopped[-1].usage is not None
    assert stopped[-1].usage.completion_tokens == sum(len(e.token_ids) for e in stopped) < 300


@pytest.mark.parametrize("after", range(4))
def test_closing_the_stream_early_frees_everything(after: int) -> None:
    async def run() -> None:
        async with provider() as running:
            async with aclosing(running.stream(ask(max_tokens=2000))) as events:
                for _ in range(after):
                    await anext(events)
            assert len(await collect(running, ask(id="r2"))) > 1, "the next request is served"

    asyncio.run(run())


def test_cancelling_the_task_that_waits_frees_everything() -> None:
    async def run() -> None:
        async with provider() as running:
            task = asyncio.create_task(collect(running, ask(max_tokens=2000)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())


def test_answers_belong_to_their_requests() -> None:
    async def run() -> None:
        async with provider() as running:
            requests = [ask(f"number {i}", id=f"r{i}") for i in range(10)]
            answers = await asyncio.gather(*(collect(running, r) for r in requests))
        for request, events in zip(requests, answers, strict=True):
            start = MODEL.chat_template.render_ids(request.messages)[-1]
            ids = [i for event in events for i in event.token_ids]
            assert ids == [(start + 1 + j) % MODEL.program.vocab_size for j in range(12)]

    asyncio.run(run())


def test_output_is_clamped_to_the_context_that_is_left() -> None:
    async def run() -> list[TokenEvent]:
        async with provider() as running:
            return await collect(running, ask("word " * 1900, max_tokens=None))

    last = asyncio.run(run())[-1]
    assert last.usage is not None
    assert last.usage.total_tokens == 2048
    assert last.finish is FinishReason.LENGTH


def test_a_prompt_without_room_is_refused_with_both_numbers() -> None:
    async def run() -> None:
        async with provider() as running:
            with pytest.raises(ContextTooLong, match=r"Current length is \d+ while limit is 2048"):
                await collect(running, ask("word " * 30_000))

    asyncio.run(run())


def test_an_unknown_model_is_named() -> None:
    async def run() -> None:
        async with provider() as running:
            with pytest.raises(UnknownModel, match="gpt-9"):
                await collect(running, ask(model="gpt-9"))

    asyncio.run(run())


def test_beyond_the_queue_there_is_queue_full() -> None:
    async def run() -> None:
        paced = NullBackend(MODEL.program, num_blocks=256, steps_per_s=200)  # the first takes 10 s
        async with (
            provider(paced, max_sequences=1, max_waiting=0) as running,
            aclosing(running.stream(ask(max_tokens=2000))) as first,
        ):
            await anext(first)
            with pytest.raises(QueueFull):
                await collect(running, ask(id="r2"))

    asyncio.run(run())


def test_an_answer_that_takes_too_long_ends() -> None:
    async def run() -> None:
        paced = NullBackend(MODEL.program, num_blocks=256, steps_per_s=200)  # 10 s in all
        async with provider(paced) as running:
            with pytest.raises(DeadlineExceeded, match=r"longer than the 0\.05 s"):
                await collect(running, ask(max_tokens=2000, terms=Terms(timeout_s=0.05)))

    asyncio.run(run())


class Melting(NullBackend):
    """Works for three calls after its two at the start, then fails."""

    calls = 0
    steps = 0  # after the start

    def step(self, batch: Batch) -> StepResult:
        self.calls += 1
        if self.calls > 2 + 3:
            raise BackendError("melted")
        if self.calls > 2:
            self.steps += batch.steps
        return super().step(batch)


def test_a_failure_on_the_way_reaches_the_reader() -> None:
    async def run() -> int:
        tokens = 0
        async with provider(backend) as running:
            with pytest.raises(BackendError, match="melted"):
                async with aclosing(running.stream(ask(max_tokens=2000))) as events:
                    async for event in events:
                        tokens += len(event.token_ids)
        return tokens

    backend = Melting(MODEL.program, num_blocks=256)
    assert asyncio.run(run()) == backend.steps >= 3


def test_a_model_that_does_not_decode_does_not_start() -> None:
    class Broken(NullBackend):
        def step(self, batch: Batch) -> StepResult:
            raise BackendError("no step")

    async def run() -> None:
        async with provider(Broken(MODEL.program, num_blocks=256)):
            pass

    with pytest.raises(BackendError, match="no step"):
        asyncio.run(run())


def test_stopping_the_server_ends_waiting_streams_with_an_error() -> None:
    async def run() -> None:
        backend = NullBackend(MODEL.program, num_blocks=256, steps_per_s=50)
        engine = Engine(backend, SystemClock(), max_sequences=4, max_step_tokens=64, max_waiting=4)
        client = EngineClient(threaded(lambda: engine), SystemClock(), greeting=(1,))
        running = LocalProvider({"mini": LocalModel(MODEL, client)})
        await running.start()
        async with aclosing(running.stream(ask(max_tokens=2000))) as events:
            await anext(events)
            await running.stop()
            assert not running.ready
            with pytest.raises(Draining, match="stopping"):
                async for _ in events:
                    pass

    asyncio.run(run())


def test_seeded_sampling_repeats_and_defaults_come_from_the_checkpoint() -> None:
    seen: list[Batch] = []

    class Watched(NullBackend):
        def step(self, batch: Batch) -> StepResult:
            seen.append(batch)
            return super().step(batch)

    async def run() -> None:
        async with provider(Watched(MODEL.program, num_blocks=256)) as running:
            await collect(running, ask(sampling=SamplingParams(), max_tokens=1))
            await collect(running, ask(sampling=SamplingParams(temperature=1.5, seed=-1)))

    asyncio.run(run())
    first, second = seen[2].sampling, seen[3].sampling  # the first two were the start's
    defaults = MODEL.default_sampling
    assert first.temperature[0] == pytest.approx(defaults.temperature)
    assert first.top_p[0] == pytest.approx(defaults.top_p)
    assert first.seed[0] == 1234
    assert second.temperature[0] == 1.5
    assert second.seed[0] == 2**64 - 1


def test_what_moves_the_draw_goes_to_the_engine() -> None:
    seen: list[Batch] = []

    class Watched(NullBackend):
        def step(self, batch: Batch) -> StepResult:
            seen.append(batch)
            return super().step(batch)

    params = replace(GREEDY, frequency_penalty=2.0, logit_bias=((7, 3.0), (5, -100.0)))

    async def run() -> list[TokenEvent]:
        async with provider(Watched(MODEL.program, num_blocks=256)) as running:
            await collect(running, ask(sampling=params, max_tokens=3))
            return await collect(running, ask(logprobs=1, max_tokens=3))

    events = asyncio.run(run())
    biases = [batch.sampling for batch in seen[2:5]]  # the first two were the start's
    first = MODEL.chat_template.render_ids(ask().messages)[-1] + 1
    assert [
        dict(zip(b.bias_ids.tolist(), b.bias_values.tolist(), strict=True)) for b in biases
    ] == [
        {5: -100.0, 7: 3.0},
        {5: -100.0, 7: 3.0, first: -2.0},
        {5: -100.0, 7: 3.0, first: -2.0, first + 1: -2.0},
    ]
    assert [batch.want_logits for batch in seen[2:8]] == [False] * 3 + [True] * 3
    found = [entry for event in events for entry in event.logprobs]
    assert [entry.data for entry in found] == [
        MODEL.tokenizer.token_bytes(first + i) for i in range(3)
    ]
    assert [entry.top for entry in found] == [(replace(entry, top=()),) for entry in found]


def test_a_bias_for_a_token_that_does_not_exist_is_refused() -> None:
    vocab = MODEL.program.vocab_size

    async def run() -> None:
        async with provider() as running:
            biased = replace(GREEDY, logit_bias=((0, 1.0), (vocab, 1.0)))
            with pytest.raises(InvalidRequest, match=f"{vocab} is no token") as refused:
                await collect(running, ask(sampling=biased))
            assert refused.value.param == "logit_bias"

    asyncio.run(run())


@pytest.mark.parametrize(("least", "expected"), [(0, 1), (4, 5), (9, 6), (None, 6)])
def test_the_least_number_of_tokens_is_clamped_like_the_most(
    least: int | None, expected: int
) -> None:
    class Ends(NullBackend):
        """Ends its turn as soon as it may."""

        def step(self, batch: Batch) -> StepResult:
            result = super().step(batch)
            is_banned = 3 in batch.sampling.bias_ids
            return replace(result, token_ids=result.token_ids * 0 + (10 if is_banned else 3))

    async def run() -> list[TokenEvent]:
        ends = replace(MODEL, stop_ids=(3,))
        backend = Ends(MODEL.program, num_blocks=256)
        async with provider(backend, model=ends) as running:
            return await collect(running, ask(min_tokens=least, max_tokens=6))

    last = asyncio.run(run())[-1]
    assert last.usage is not None
    assert last.usage.completion_tokens == expected


def test_building_names_what_is_wrong(tmp_path: Path) -> None:
    config = load(environ={}, flags={"engine.backend": "null"})
    with pytest.raises(CheckpointError, match="nowhere"):
        build_local([tmp_path / "nowhere"], config, SystemClock())
    with pytest.raises(ConfigError, match="same folder name"):
        build_local([bundled_model(), bundled_model()], config, SystemClock())
    unknown = load(environ={}, flags={"engine.backend": "abacus"})
    with pytest.raises(ConfigError, match="abacus"):
        asyncio.run(build_local([bundled_model()], unknown, SystemClock()).start())


def test_models_of_the_settings_have_their_names_aliases_and_defaults(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text(
        f"""
        [models."org/mini-1.0"]
        path = "{bundled_model()}"
        aliases = ["gpt-4o", "fast"]
        temperature = 0.25
        max_tokens = 7
        description = "a small model"
        tool_format = "hermes"
        [models.other]
        path = "{bundled_model()}"
        """
    )
    config = load(file=file, environ={}, flags={"engine.backend": "null"})

    async def run() -> list[TokenEvent]:
        running = build_local([], config, SystemClock())
        try:
            await running.start()
            names = ["org/mini-1.0", "gpt-4o", "fast", "other"]
            assert [card.id for card in running.models] == names
            assert [card.root for card in running.models] == ["org/mini-1.0"] * 3 + ["other"]
            assert running.models[1].description == "a small model"
            assert running.models[0].quantization == "bf16"
            formats = [tool_format_of(model._model) for model in running._models.values()]
            assert formats == ["hermes", tool_format_of(MODEL)]
            assert formats[0] != formats[1], "or this shows nothing"
            first = running._models["org/mini-1.0"]._default_sampling
            assert first.temperature == 0.25
            assert first.top_p == open_model(bundled_model()).default_sampling.top_p
            return await collect(running, ask(model="gpt-4o", max_tokens=None, min_tokens=None))
        finally:
            await running.stop()

    last = asyncio.run(run())[-1]
    assert last.usage is not None
    assert last.usage.completion_tokens == 7


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"format": RegexFormat(pattern="a")}, "response_format"),
        ({"toolbox": TOOLBOX}, "tools"),
        ({"toolbox": TOOLBOX, "format": RegexFormat(pattern="a")}, "response_format"),
    ],
)
def test_a_refused_grammar_names_the_field_it_was_made_of(
    changes: dict[str, Any], param: str
) -> None:
    async def run() -> None:
        async with provider() as running:  # whose engine takes none
            await collect(running, ask(**changes))

    with pytest.raises(InvalidRequest, match="no grammars") as refused:
        asyncio.run(run())
    assert refused.value.param == param


def test_a_tool_format_nobody_knows_is_named(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text(f'[models.m]\npath = "{bundled_model()}"\ntool_format = "xml"\n')
    config = load(file=file, environ={}, flags={"engine.backend": "null"})
    said = r"'models\.m\.tool_format' must be one of llama3_json, pythonic, .*, not 'xml'"
    with pytest.raises(ConfigError, match=said):
        build_local([], config, SystemClock())


def test_a_folder_that_is_named_takes_the_settings_of_its_name(tmp_path: Path) -> None:
    name = bundled_model().name
    file = tmp_path / "headrace.toml"
    file.write_text(f'[models.{name}]\npath = "/elsewhere"\naliases = ["small"]\n')
    config = load(file=file, environ={}, flags={"engine.backend": "null"})
    running = build_local([bundled_model()], config, SystemClock())
    assert set(running._aliases) == {"small"}


def test_cached_tokens_are_counted_for_their_tenant_only() -> None:
    long = ask("word " * 100, max_tokens=1)

    async def cached(running: LocalProvider, tenant: str) -> int:
        usage = (await collect(running, replace(long, tenant=tenant)))[-1].usage
        assert usage is not None
        return usage.cached_tokens

    async def run() -> list[int]:
        async with provider() as running:
            return [await cached(running, tenant) for tenant in ("a", "a", "b", "b")]

    found = asyncio.run(run())
    prompt_tokens = len(MODEL.chat_template.render_ids(long.messages))
    assert found == [0, (prompt_tokens - 1) // 16 * 16] * 2
