"""A log asked again in virtual time: the schedule, the bodies and the differences are the log's."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.bench.client import ToolCall
from headrace.bench.comparison import comparisons
from headrace.bench.likeness import likenesses
from headrace.bench.load import Alone, Budget, Player
from headrace.bench.replay import LOGGED, Replay
from headrace.bench.run import Run, Runner, RunSettings
from headrace.bench.scenarios import Outcome, scenario_named
from headrace.bench.scenarios.log import LoggedAnswer, LoggedTask, read_log
from headrace.errors import ConfigError
from tests.bench.virtual import LoopClock, answered, play, scripted

TEN = "one two three four five six seven eight nine ten"


def written(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def line(at_s: float, content: str = "go", **more: Any) -> dict[str, Any]:
    body = {"model": "old", "messages": [{"role": "user", "content": content}]}
    return {"at_s": at_s, "body": body} | more


def replayed(log: Path, endpoints: list[Any], *, speed: float | None = 1.0) -> Run:
    async def main() -> Run:
        player = Player(clock=LoopClock(), seed=0)
        again = Replay(log=read_log(log), player=player, endpoints=endpoints, cpu_s=lambda: 0.0)
        if speed is None:
            return await again.one_by_one()
        loader = Alone(player=player, endpoints=endpoints, cpu_s=lambda: 0.0)
        return await again.at_its_times(loader, speed)

    return play(main())


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_requests_leave_at_the_logs_times_however_slow_answers_are(
    speed: float, tmp_path: Path
) -> None:
    times = [50.0, 50.25, 53.0, 58.5]
    log = written(tmp_path, *(line(at_s) for at_s in reversed(times)))
    places = [scripted(name, lambda _: "yes", first_s=30.0) for name in "ab"]
    run = replayed(log, places, speed=speed)
    for name in "ab":
        starts = [a.start_s for a in run.attempts if a.endpoint == name]
        assert starts == pytest.approx([(at_s - 50.0) / speed for at_s in times])
        assert [a.woke_s for a in run.attempts if a.endpoint == name] == pytest.approx(starts)


def test_a_body_is_the_logs_but_for_the_model_and_the_stream(tmp_path: Path) -> None:
    kept = {"temperature": 0.7, "max_completion_tokens": 9, "stop": ["x"], "seed": 5}
    asked = line(0.0) | {"body": line(0.0)["body"] | kept | {"stream": False}}
    place = scripted("new", lambda _: "yes")
    replayed(written(tmp_path, asked), [place])
    (body,) = place.transport.bodies  # type: ignore[attr-defined]
    wanted = asked["body"] | {"model": "new", "stream": True}
    assert body == wanted | {"stream_options": {"include_usage": True}}


@pytest.mark.parametrize("speed", [1.0, None])
def test_usage_in_each_event_is_asked_of_who_takes_it(speed: float | None, tmp_path: Path) -> None:
    place = scripted("new", lambda _: TEN, words_an_event=4, takes_event_usage=True)
    run = replayed(written(tmp_path, line(0.0), line(1.0)), [place], speed=speed)
    assert [a.answers[0].counts for a in run.attempts] == ["usage", "usage"]


def test_a_run_that_was_recorded_is_repeated_to_the_byte_and_the_moment(tmp_path: Path) -> None:
    first = scripted("a", lambda _: TEN, first_s=0.2, gap_s=0.05, lanes=3)

    async def main() -> tuple[Run, list[bytes]]:
        player = Player(clock=LoopClock(), seed=0, record=[])
        names = ("short", "mix")
        settings = RunSettings(scenarios=[scenario_named(n) for n in names], tasks=5, stage_s=8)
        runner = Runner(player=player, endpoints=[first], settings=settings, cpu_s=lambda: 0.0)
        return await runner.go(), player.record or []

    _, record = play(main())
    log = written(tmp_path, *(raw.decode() for raw in record))
    again = scripted("a", lambda _: TEN, first_s=0.2, gap_s=0.05, lanes=3)
    run = replayed(log, [again])
    # The first body of all was the probe, which is no task.
    assert len(first.transport.bodies) - 1 == len(record) > 40  # type: ignore[attr-defined]
    bodies = [msgspec.json.encode(b) for b in first.transport.bodies[1:]]  # type: ignore[attr-defined]
    assert sorted(bodies) == sorted(msgspec.json.encode(b) for b in again.transport.bodies)  # type: ignore[attr-defined]
    old, new = ([a for a in run.attempts if a.endpoint == name] for name in (LOGGED, "a"))
    assert [a.start_s for a in new] == pytest.approx([a.start_s for a in old])
    found = {c.metric: c.difference for c in comparisons(run.attempts)}
    assert all(d.value == pytest.approx(0, abs=1e-9) for d in found.values())
    assert {"TTFT, s", "output speed, tok/s", "whole task, s", "success, share"} == set(found)


def test_differences_to_the_log_are_what_the_script_says(tmp_path: Path) -> None:
    told = LoggedAnswer(text=TEN, ttft_s=0.2, e2e_s=0.2 + 9 * 0.05, output_tokens=10, finish="stop")
    answer = msgspec.to_builtins(told)
    log = written(tmp_path, *(line(i * 9.0, answer=answer) for i in range(12)))
    other = TEN.replace("nine ten", "nine eleven twelve")
    run = replayed(log, [scripted("new", lambda _: other, first_s=0.5, gap_s=0.1)])
    by_metric = {c.metric: c for c in comparisons(run.attempts)}
    sign = 1 if by_metric["TTFT, s"].second == LOGGED else -1
    found = {name: -sign * c.difference.value for name, c in by_metric.items()}
    assert found["TTFT, s"] == pytest.approx(0.3)
    assert found["output speed, tok/s"] == pytest.approx(10 - 20)
    assert found["whole task, s"] == pytest.approx(0.5 + 10 * 0.1 - 0.65)
    (like,) = likenesses(run.attempts)
    assert like.same.value == 0
    assert like.like.value == pytest.approx(2 * 9 / (10 + 11))
    assert -sign * like.longer.value == 1


def test_whole_tasks_of_different_lengths_are_not_compared(tmp_path: Path) -> None:
    answer = {"text": "a b", "ttft_s": 0.1, "e2e_s": 0.2, "output_tokens": 2, "finish": "stop"}
    log = written(tmp_path, *(line(i * 9.0, answer=answer) for i in range(8)))
    run = replayed(log, [scripted("new", lambda _: TEN)])
    assert "whole task, s" not in {c.metric for c in comparisons(run.attempts)}


def test_one_by_one_needs_no_times_and_asks_all_before_the_next(tmp_path: Path) -> None:
    lines = [{"body": line(0.0, f"number {i}")["body"]} for i in range(6)]
    log = written(tmp_path, *lines)
    places = [scripted(name, lambda _: TEN) for name in "ab"]
    run = replayed(log, places, speed=None)
    order = [a.task for a in sorted(run.attempts, key=lambda a: a.start_s)]
    assert order == [f"replay/{i}" for i in range(6) for _ in range(2)]
    assert {a.endpoint for a in run.attempts} == {"a", "b"}  # the log has no answers
    with pytest.raises(ConfigError, match="--one-by-one"):
        replayed(log, places)


def test_a_failed_answer_of_the_log_is_counted_and_in_no_difference(tmp_path: Path) -> None:
    good = {"text": "yes", "ttft_s": 0.1, "e2e_s": 0.1, "output_tokens": 1, "finish": "stop"}
    lines = [line(float(i), answer=good if i else {"fault": "status 503"}) for i in range(9)]
    run = replayed(written(tmp_path, *lines), [scripted("new", lambda _: "yes")])
    old = [a.outcome for a in run.attempts if a.endpoint == LOGGED]
    assert old == [Outcome.FAILED_CALL] + [Outcome.PASSED] * 8
    pairs = {c.metric: c.difference.pairs for c in comparisons(run.attempts)}
    assert (pairs["TTFT, s"], pairs["success, share"]) == (8, 9)


def test_a_budget_ends_a_replay(tmp_path: Path) -> None:
    log = read_log(written(tmp_path, *(line(float(i)) for i in range(9))))

    async def main() -> Run:
        player = Player(clock=LoopClock(), seed=0, budget=Budget(max_tokens=25))
        place = [scripted("new", lambda _: TEN)]
        loader = Alone(player=player, endpoints=place, cpu_s=lambda: 0.0)
        again = Replay(log=log, player=player, endpoints=place, cpu_s=lambda: 0.0)
        return await again.at_its_times(loader, 1.0)

    run = play(main())
    assert len(run.attempts) == 3  # of eleven tokens each
    assert run.notes == ["replay: cut short, the budget is spent"]


TOOL = {"type": "function", "function": {"name": "look", "parameters": {
    "type": "object", "properties": {"n": {"type": "integer"}}}}}  # fmt: skip
JSON = {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}


@pytest.mark.parametrize(
    ("asked", "text", "call", "outcome"),
    [
        ({}, "anything", None, Outcome.PASSED),
        ({"tools": [TOOL]}, "words", None, Outcome.PASSED),
        ({"tools": [TOOL]}, "", ("look", '{"n":1}'), Outcome.PASSED),
        ({"tools": [TOOL]}, "", ("look", '{"n":"1"}'), Outcome.INVALID_SCHEMA),
        ({"tools": [TOOL]}, "", ("look", '{"n"'), Outcome.INVALID_JSON),
        ({"tools": [TOOL]}, "", ("buy", "{}"), Outcome.WRONG_TOOL),
        ({"response_format": JSON}, "[1]", None, Outcome.PASSED),
        ({"response_format": JSON}, "{}", None, Outcome.INVALID_SCHEMA),
        ({"response_format": {"type": "json_object"}}, "{", None, Outcome.INVALID_JSON),
    ],
)
def test_an_answer_must_have_the_form_that_was_asked_for(
    asked: dict[str, Any], text: str, call: tuple[str, str] | None, outcome: Outcome, tmp_path: Path
) -> None:
    (request,) = read_log(written(tmp_path, {"body": line(0.0)["body"] | asked})).requests
    calls = [ToolCall(id="1", name=call[0], arguments=call[1])] if call else []
    assert LoggedTask(id="1", request=request).check([answered(text, *calls)]) is outcome


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((), "holds no requests"),
        (("{",), "line 1"),
        ((line(0.0), {"body": {}}), "line 2: its body has no messages"),
        (({"body": {"messages": ["go"]}},), "line 1: its body has no messages"),
        ((line(0.0) | {"when": 1},), "when"),
        (({"body": line(0.0)["body"] | {"n": 2}},), "n must be 1"),
        ((line(0.0, endpoint="a"), line(1.0, endpoint="b")), "--of one of a, b"),
    ],
)
def test_what_is_no_log_is_one_sentence(lines: tuple[Any, ...], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        read_log(written(tmp_path, *lines))


def test_one_endpoint_of_several_is_chosen(tmp_path: Path) -> None:
    log = written(tmp_path, line(0.0, endpoint="a"), line(1.0, "other", endpoint="b"))
    (request,) = read_log(log, "b").requests
    assert request.body["messages"][0]["content"] == "other"
    with pytest.raises(ConfigError, match="no requests of c"):
        read_log(log, "c")
