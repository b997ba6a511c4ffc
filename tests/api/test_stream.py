"""POST /v1/chat/completions with `stream`."""

import asyncio
import json

import pytest

from headrace.api.sse import FAST_TOKENS, MAX_JOINED, MAX_JOINED_IN_TURN
from headrace.errors import BackendError
from headrace.types import FinishReason, TokenEvent, Usage
from tests.api.exchange import Exchange, app_of, ask, chat
from tests.scripted import Hold, Pause, ScriptedProvider


def choices(events: list[dict]) -> list[dict]:
    return [choice for event in events for choice in event["choices"]]


def test_the_chunks_come_in_the_usual_order():
    got = chat(app_of(ScriptedProvider("Hel", "lo")), stream=True)
    assert got.status == 200
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert got.headers["cache-control"] == "no-cache"
    assert got.headers["x-accel-buffering"] == "no"
    assert [(c["index"], c["delta"], c["finish_reason"]) for c in choices(got.events)] == [
        (0, {"role": "assistant", "content": ""}, None),
        (0, {"content": "Hel"}, None),
        (0, {"content": "lo"}, None),
        (0, {}, "stop"),
    ]
    heads = {
        tuple(str(e[k]) for k in ("id", "object", "created", "model", "system_fingerprint"))
        for e in got.events
    }
    assert len(heads) == 1
    assert got.events[0]["object"] == "chat.completion.chunk"


def test_usage_rides_on_the_finish_chunk_when_nothing_was_said():
    *earlier, last = chat(app_of(ScriptedProvider("a", "b")), stream=True).events
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["completion_tokens"] == 2
    assert last["time_info"]["total_time"] > 0
    assert all("usage" not in event for event in earlier)


def test_usage_has_a_chunk_of_its_own_when_asked_for():
    got = chat(app_of(ScriptedProvider("a")), stream=True, stream_options={"include_usage": True})
    *earlier, last = got.events
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 8
    assert "time_info" in last
    assert all(event["usage"] is None for event in earlier)
    assert earlier[-1]["choices"][0]["finish_reason"] == "stop"


def test_usage_is_on_every_chunk_when_asked_for_continuously():
    confusing = ',"usage":null}\n\n'
    together = TokenEvent(text="bc", parts=("b", "c"), token_ids=(2, 3))
    options = {"include_usage": True, "continuous_usage_stats": True}
    provider = ScriptedProvider(confusing, together, "d", prompt_tokens=7)
    got = chat(app_of(provider), stream=True, stream_options=options)
    *earlier, last = got.events
    assert [event["usage"]["completion_tokens"] for event in earlier[1:]] == [1, 3, 4, 4]
    said = [event["choices"][0]["delta"].get("content") for event in earlier[1:]]
    assert said == [confusing, "bc", "d", None]
    assert last["choices"] == []
    assert last["usage"] == earlier[-1]["usage"]


def test_continuous_usage_alone_changes_nothing():
    options = {"continuous_usage_stats": True}
    got = chat(app_of(ScriptedProvider("a", "b")), stream=True, stream_options=options)
    assert [event["usage"]["completion_tokens"] for event in got.events if "usage" in event] == [2]


def test_usage_is_left_out_when_declined():
    got = chat(app_of(ScriptedProvider("a")), stream=True, stream_options={"include_usage": False})
    assert all("usage" not in event and "time_info" not in event for event in got.events)


def test_stream_options_without_stream_change_nothing():
    got = chat(app_of(ScriptedProvider("a")), stream_options={"include_usage": False})
    assert got.json["usage"]["total_tokens"] == 8


def test_a_last_event_may_bring_text():
    end = TokenEvent(
        text=" end",
        token_ids=(9,),
        finish=FinishReason.LENGTH,
        usage=Usage(prompt_tokens=1, completion_tokens=2),
    )
    got = chat(app_of(ScriptedProvider("a", end, finish=None)), stream=True)
    assert [c["delta"] for c in choices(got.events)][-2:] == [{"content": " end"}, {}]
    assert choices(got.events)[-1]["finish_reason"] == "length"


def test_a_first_event_may_bring_text():
    got = chat(app_of(ScriptedProvider("a", "b", greets=False)), stream=True)
    assert "".join(c["delta"].get("content", "") for c in choices(got.events)) == "ab"


@pytest.mark.parametrize(
    "text",
    ['"quotes" \\ and \n lines\r\n', "\x00\x1f", "naïve 🌊 水", "\u2028\u2029", "data: [DONE]\n\n"],
)
def test_any_text_arrives_as_it_was(text: str):
    got = chat(app_of(ScriptedProvider(text, "", text)), stream=True)
    pieces = [c["delta"].get("content", "") for c in choices(got.events)]
    assert pieces == ["", text, text, ""]


def test_tokens_that_are_ready_together_share_a_write():
    got = chat(app_of(ScriptedProvider("a", "b", "c", Pause(), "d", "e")), stream=True)
    assert len(got.events) == 7
    counts = [write.count(b"data: ") for write in got.writes]
    assert counts == [4, 4]  # role a b c, then d e finish [DONE]


def test_each_token_of_an_event_has_a_chunk_of_its_own():
    event = TokenEvent(text="abc", parts=("a", "", "b", "c"), token_ids=(1, 2, 3, 4), choice=1)
    end = TokenEvent(
        text="de",
        parts=("d", "e"),
        token_ids=(5, 6),
        finish=FinishReason.LENGTH,
        usage=Usage(prompt_tokens=1, completion_tokens=6),
    )
    other = TokenEvent(text="", choice=1, finish=FinishReason.STOP)
    got = chat(app_of(ScriptedProvider(event, other, end, finish=None)), stream=True, n=2)
    said = [(c["index"], c["delta"]["content"]) for c in choices(got.events) if c["delta"]]
    assert said == [(0, ""), (1, ""), (1, "a"), (1, "b"), (1, "c"), (0, "d"), (0, "e")]


def test_a_long_run_of_ready_tokens_is_cut_into_writes():
    got = chat(app_of(ScriptedProvider(*["x"] * 1_000)), stream=True)
    assert len(got.events) == 1_002
    assert max(write.count(b"data: ") for write in got.writes) <= 66


def test_what_is_ready_goes_out_before_a_wait():
    async def scenario() -> None:
        hold = Hold()
        exchange = Exchange(
            app_of(ScriptedProvider("first", hold, "second")),
            "POST",
            "/v1/chat/completions",
            ask(stream=True),
        )
        running = asyncio.create_task(exchange.run())
        await exchange.wait_for(b"first")
        assert b"second" not in exchange.body
        hold.release()
        await running
        assert len(exchange.events) == 4

    asyncio.run(scenario())


LONG = {"interval_ms": 1_000}
STEPS = ("a", Pause(), "b", Pause(), Pause(), "c", Pause(), "d", Pause())


def test_tokens_within_the_interval_share_a_write():
    usual = chat(app_of(ScriptedProvider(*STEPS)), stream=True)
    got = chat(app_of(ScriptedProvider(*STEPS)), stream=True, stream_options=LONG)
    assert [write.count(b"data: ") for write in usual.writes] == [2, 1, 1, 1, 2]
    assert [write.count(b"data: ") for write in got.writes] == [2, 5]  # at once, and at the end
    assert choices(got.events) == choices(usual.events)


@pytest.mark.parametrize("pauses", [[], [Pause()]])
def test_a_write_within_the_interval_holds_many_tokens_but_not_any_number(pauses: list[Pause]):
    tokens = [step for i in range(1_500) for step in (f"{i} ", *pauses)]
    got = chat(app_of(ScriptedProvider(*tokens)), stream=True, stream_options=LONG)
    first, *rest = [write.count(b"data: ") for write in got.writes if write]
    assert first == (2 if pauses else MAX_JOINED)
    assert len(rest) == 2
    assert rest[0] == MAX_JOINED_IN_TURN
    said = "".join(choice["delta"].get("content", "") for choice in choices(got.events))
    assert said == "".join(f"{i} " for i in range(1_500))


def test_the_first_token_is_written_at_once_though_a_role_was_before_it():
    async def scenario() -> None:
        hold = Hold()
        script = ScriptedProvider(Pause(), Pause(), "first", hold)
        body = ask(stream=True, stream_options=LONG)
        exchange = Exchange(app_of(script), "POST", "/v1/chat/completions", body)
        running = asyncio.create_task(exchange.run())
        await hold.reached.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert [b"first" in write for write in exchange.writes] == [False, True]
        hold.release()
        await running

    asyncio.run(scenario())


def test_slow_tokens_are_written_as_they_come():
    async def scenario() -> list[int]:
        holds = [Hold(), Hold()]
        script = ScriptedProvider("a", holds[0], "b", holds[1], "c")
        body = ask(stream=True, stream_options={"interval_ms": 8 * FAST_TOKENS})
        exchange = Exchange(app_of(script), "POST", "/v1/chat/completions", body)
        running = asyncio.create_task(exchange.run())
        loop = asyncio.get_running_loop()
        for hold in holds:
            await hold.reached.wait()
            late = asyncio.Event()
            loop.call_later(0.01, late.set)
            await late.wait()
            hold.release()
        await running
        return [write.count(b"data: ") for write in exchange.writes]

    assert asyncio.run(scenario()) == [2, 1, 3]


def test_an_interval_ends_without_another_token():
    async def scenario() -> None:
        hold = Hold()
        script = ScriptedProvider("first", Pause(), "second", hold, "third")
        body = ask(stream=True, stream_options={"interval_ms": 1})
        exchange = Exchange(app_of(script), "POST", "/v1/chat/completions", body)
        running = asyncio.create_task(exchange.run())
        await exchange.wait_for(b"second")
        assert b"third" not in exchange.body
        hold.release()
        await running
        assert len(exchange.events) == 5

    asyncio.run(scenario())


def test_an_error_within_the_interval_comes_after_what_was_said():
    script = ScriptedProvider("a", Pause(), "b", Pause(), BackendError("secret"))
    got = chat(app_of(script), stream=True, stream_options=LONG)
    assert [c["delta"].get("content") for c in choices(got.events)] == ["", "a", "b"]
    assert got.events[-1]["status_code"] == 500


def test_a_client_that_leaves_within_the_interval_leaves_nothing_behind():
    async def scenario() -> None:
        hold = Hold()
        script = ScriptedProvider("first", Pause(), "second", hold)
        body = ask(stream=True, stream_options=LONG)
        exchange = Exchange(app_of(script), "POST", "/v1/chat/completions", body)
        running = asyncio.create_task(exchange.run())
        await hold.reached.wait()
        exchange.hang_up()
        await asyncio.wait([running])
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert b"first" in exchange.body
        assert b"second" not in exchange.body

    asyncio.run(scenario())


@pytest.mark.parametrize("value", [-1, 1_001, 0.5, "1", True])
def test_an_interval_is_a_number_of_milliseconds(value: object):
    got = chat(app_of(ScriptedProvider("a")), stream=True, stream_options={"interval_ms": value})
    assert got.status == 400
    assert "stream_options.interval_ms" in got.json["error"]["message"]


@pytest.mark.parametrize("error", [BackendError("secret"), RuntimeError("secret")])
def test_an_error_after_the_first_token_ends_the_stream_with_an_event(error: Exception):
    got = chat(app_of(ScriptedProvider("a", "b", error)), stream=True)
    assert got.status == 200
    last = got.events[-1]
    assert last["choices"] == []
    assert last["status_code"] == 500
    assert last["error"]["code"] == last["code"] == "internal_error"
    assert last["usage"]["completion_tokens"] == 2
    assert b"secret" not in got.body
    assert b"[DONE]" not in got.body
    assert got.headers["x-request-id"] in last["message"]
    assert all(c["finish_reason"] is None for c in choices(got.events))


def test_a_provider_that_stops_without_a_reason_is_an_error():
    got = chat(app_of(ScriptedProvider("a", finish=None)), stream=True)
    assert got.events[-1]["error"]["type"] == "server_error"


def test_a_silent_stream_is_kept_alive_by_comments():
    async def scenario() -> None:
        hold = Hold()
        exchange = Exchange(
            app_of(ScriptedProvider("a", hold), keep_alive_s=0.01),
            "POST",
            "/v1/chat/completions",
            ask(stream=True),
        )
        running = asyncio.create_task(exchange.run())
        await exchange.wait_for(b": keep-alive\n\n: keep-alive\n\n")
        hold.release()
        await running
        assert len(exchange.events) == 3

    asyncio.run(scenario())


class Stuck(Exchange):
    """A client that stops reading after the first write."""

    async def _take(self, message: dict) -> None:
        await super()._take(message)
        if self.writes:
            await asyncio.Event().wait()


def test_a_client_that_reads_no_more_is_given_up():
    provider = ScriptedProvider("a", Pause(), "b")
    exchange = Stuck(
        app_of(provider, keep_alive_s=0.01), "POST", "/v1/chat/completions", ask(stream=True)
    )
    asyncio.run(exchange.run())
    assert provider.cancelled == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", [("a", "b"), ()])
def test_a_client_that_hangs_up_frees_its_request_at_once(stream: bool, script: tuple[str, ...]):
    async def scenario() -> None:
        hold = Hold()
        provider = ScriptedProvider(*script, hold)
        exchange = Exchange(app_of(provider), "POST", "/v1/chat/completions", ask(stream=stream))
        running = asyncio.create_task(exchange.run())
        await hold.reached.wait()
        assert provider.running == 1
        exchange.hang_up()
        await running  # returns without an exception
        assert (provider.running, provider.cancelled) == (0, 1)

    asyncio.run(scenario())


def test_a_client_that_hangs_up_before_the_first_event_frees_its_request():
    async def scenario() -> None:
        hold = Hold()
        provider = ScriptedProvider(hold, greets=False)
        exchange = Exchange(app_of(provider), "POST", "/v1/chat/completions", ask(stream=True))
        running = asyncio.create_task(exchange.run())
        await hold.reached.wait()
        exchange.hang_up()
        await running
        assert (provider.running, provider.cancelled) == (0, 1)
        assert exchange.messages == []

    asyncio.run(scenario())


@pytest.mark.parametrize("after", range(1, 8))
def test_a_server_that_stops_frees_the_request_wherever_it_is(after: int):
    async def scenario() -> None:
        provider = ScriptedProvider("a", Pause(), "b", Pause(), "c", Hold())
        exchange = Exchange(app_of(provider), "POST", "/v1/chat/completions", ask(stream=True))
        running = asyncio.create_task(exchange.run())
        for _ in range(after):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert provider.running == 0

    asyncio.run(scenario())


def test_an_exchange_that_is_over_is_no_hang_up():
    """Servers report a disconnect when the response is complete; that cancels nothing."""

    class Server(Exchange):
        async def _take(self, message: dict) -> None:
            await super()._take(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.hang_up()
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    provider = ScriptedProvider("a")
    asyncio.run(Server(app_of(provider), "POST", "/v1/chat/completions", ask(stream=True)).run())
    assert provider.cancelled == 0


def test_every_line_of_a_stream_is_an_event_or_a_separator():
    got = chat(app_of(ScriptedProvider(*"some text")), stream=True)
    for line in got.body.decode().split("\n"):
        assert line == "" or line == "data: [DONE]" or json.loads(line.removeprefix("data: "))
