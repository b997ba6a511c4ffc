"""What is read from a stream: each pitfall of timing tokens, with the truth in the script."""

import pytest

from headrace.bench.client import Answer, Exchange, ToolCall, read_answer
from headrace.bench.client.counting import counted
from headrace.bench.client.tokens import TokenEnds
from headrace.bench.metrics import (
    common_speed,
    e2e_s,
    gaps_s,
    itl_s,
    output_speed,
    tpot_s,
    ttfa_s,
    ttft_s,
)
from tests.bench.virtual import delta, sse

DONE = b"data: [DONE]\n\n"


def read(
    *arrivals: tuple[float, bytes],
    fault: str = "",
    intended_s: float | None = None,
    own: TokenEnds | None = None,
    common: TokenEnds | None = None,
) -> Answer:
    exchange = Exchange(
        sent_s=1.0, status=200, is_stream=True, arrivals=arrivals, ended_s=9.0, fault=fault
    )
    return counted(read_answer(exchange, intended_s=intended_s), own=own, common=common)


def usage(tokens: int, **more: object) -> bytes:
    return sse({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": tokens, **more}})


def test_a_first_event_with_the_role_alone_is_no_token() -> None:
    answer = read(
        (1.1, sse(delta(role="assistant", content=""))),
        (1.5, sse(delta(content="one"))),
        (1.7, sse(delta(content=" two"))),
        (1.9, sse(delta(content=" three"))),
        (2.0, sse(delta(finish="stop")) + usage(3) + DONE),
    )
    assert answer.fault == ""
    assert answer.text == "one two three"
    assert ttft_s(answer) == pytest.approx(0.5)
    assert e2e_s(answer) == pytest.approx(0.9)
    assert output_speed(answer) == pytest.approx(2 / 0.4)
    assert tpot_s(answer) == pytest.approx(0.2)
    assert gaps_s(answer) == pytest.approx([0.2, 0.2])


def test_usage_in_every_event_says_what_a_batch_holds() -> None:
    def event(text: str, so_far: int) -> bytes:
        return sse({**delta(content=text), "usage": {"completion_tokens": so_far}})

    answer = read(
        (2.0, event("four tokens at once", 4)),
        (2.6, event(" and six more in the second", 10)),
        (2.7, sse(delta(finish="stop")) + usage(10)),
    )
    assert answer.counts == "usage"
    assert [piece.tokens for piece in answer.pieces] == [4, 6]
    assert output_speed(answer) == pytest.approx(6 / 0.6)  # 4 came with the first event, not 1
    assert itl_s(answer) == pytest.approx([0.1] * 6)
    assert gaps_s(answer) == pytest.approx([0.6])


def test_without_usage_per_event_the_tokenizer_counts() -> None:
    # Tokens of "aabbbcccc": aa, b, bb, cccc; "abb" of the second event completes two.
    answer = read(
        (2.0, sse(delta(content="aab"))),
        (2.4, sse(delta(content="bbcccc"))),
        (2.5, sse(delta(finish="stop")) + usage(4)),
        own=lambda text: [2, 3, 5, 9],
    )
    assert answer.counts == "tokenizer"
    assert [piece.tokens for piece in answer.pieces] == [2, 2]
    assert not answer.usage_differs


def test_a_usage_that_the_tokenizer_does_not_find_is_noted() -> None:
    answer = read(
        (2.0, sse(delta(content="aab"))),
        (2.5, sse(delta(finish="stop")) + usage(40)),
        own=lambda text: [2, 3],
    )
    assert answer.usage_differs
    assert answer.output_tokens == 40


def test_one_counter_counts_the_answers_of_all_endpoints_alike() -> None:
    # The counter sees a token in every four characters, whatever the model's tokenizer saw.
    answer = read(
        (2.0, sse(delta(content="x" * 10))),
        (4.0, sse(delta(content="y" * 30))),
        (4.1, sse(delta(finish="stop")) + usage(20)),
        common=lambda text: range(4, len(text) + 1, 4),
    )
    assert (answer.output_tokens, answer.counts) == (20, "share")  # usage holds for the model
    assert (answer.common_tokens, answer.common_after_first) == (10, 8)
    assert common_speed(answer) == pytest.approx(8 / 2)


def test_without_usage_tokens_are_those_of_the_counter() -> None:
    answer = read(
        (2.0, sse(delta(content="x" * 10))),
        (3.0, sse(delta(content="y" * 30))),
        (3.1, sse(delta(finish="stop"))),
        common=lambda text: range(4, len(text) + 1, 4),
    )
    assert (answer.output_tokens, answer.counts, answer.has_usage) == (10, "counter", False)
    assert [piece.tokens for piece in answer.pieces] == [2, 8]
    assert output_speed(answer) == pytest.approx(8)


def test_batches_of_unknown_size_share_the_tokens_by_length() -> None:
    answer = read(
        (2.0, sse(delta(content="x" * 10))),
        (3.0, sse(delta(content="y" * 30))),
        (3.1, sse(delta(finish="stop")) + usage(20)),
    )
    assert answer.counts == "share"
    assert [piece.tokens for piece in answer.pieces] == [5, 15]
    assert output_speed(answer) == pytest.approx(15)


def test_reasoning_counts_for_the_first_token_and_not_for_the_first_answer() -> None:
    answer = read(
        (1.2, sse(delta(reasoning="hm"))),
        (1.4, sse(delta(reasoning_content=" so"))),
        (1.9, sse(delta(content="yes"))),
        (2.0, sse(delta(finish="stop")) + usage(3)),
    )
    assert ttft_s(answer) == pytest.approx(0.2)
    assert ttfa_s(answer) == pytest.approx(0.9)
    assert (answer.reasoning, answer.text) == ("hm so", "yes")


def test_a_call_comes_in_pieces() -> None:
    def part(**function: str) -> bytes:
        return sse(delta(tool_calls=[{"index": 0, "id": "c1", "function": function}]))

    answer = read(
        (1.3, part(name="look")),
        (1.4, part(arguments='{"a":')),
        (1.5, part(arguments="1}") + sse(delta(finish="tool_calls")) + usage(3)),
    )
    assert answer.calls == (ToolCall(id="c1", name="look", arguments='{"a":1}'),)
    assert answer.text == ""
    assert ttft_s(answer) == pytest.approx(0.3)


def test_events_are_whole_only_when_their_last_byte_is_there() -> None:
    whole = sse(delta(content="one")).replace(b"\n", b"\r\n")
    answer = read(
        (1.2, whole[:9]),
        (1.6, whole[9:-2]),
        (1.8, whole[-2:] + sse(delta(finish="stop"))),
    )
    assert answer.text == "one"
    assert ttft_s(answer) == pytest.approx(0.6)


def test_late_sends_count_from_when_they_should_have_left() -> None:
    answer = read((1.5, sse(delta(content="a", finish="stop"))), intended_s=0.25)
    assert ttft_s(answer) == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("last", "fault"),
    [
        (sse(delta(content="more")), "the stream ended without a reason to finish"),
        (sse({"error": {"message": "too hot"}}), "error event: too hot"),
        (b"data: {oops\n\n", "an event that cannot be read"),
    ],
)
def test_a_stream_that_does_not_end_well_is_a_fault(last: bytes, fault: str) -> None:
    assert read((1.5, sse(delta(content="a"))), (1.6, last)).fault.startswith(fault)


def test_a_cut_connection_is_a_fault_even_after_the_reason_to_finish() -> None:
    last = sse(delta(content="a", finish="stop"))
    assert read((1.5, last), fault="the connection broke off").fault == "the connection broke off"


@pytest.mark.parametrize(("status", "is_stream"), [(503, False), (200, False)])
def test_what_is_no_stream_is_a_fault(status: int, is_stream: bool) -> None:
    exchange = Exchange(sent_s=1.0, status=status, is_stream=is_stream, ended_s=2.0)
    assert read_answer(exchange).fault
