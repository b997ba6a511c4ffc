"""Where answers end on the wire, with h11 as the judge of what HTTP/1.1 says."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.client.framing import AnswerFraming, BadFraming

PIECES = st.lists(st.binary(min_size=1, max_size=40) | st.just(b"\r\n0\r\n\r\n"), max_size=6)


def answer_of(pieces: list[bytes], *, is_chunked: bool) -> bytes:
    """As h11 writes it."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
    server.next_event()
    length = ("content-length", str(sum(map(len, pieces))))
    head = ("transfer-encoding", "chunked") if is_chunked else length
    sent = [server.send(h11.Response(status_code=200, headers=[head]))]
    sent += [server.send(h11.Data(data=piece)) for piece in pieces]
    sent.append(server.send(h11.EndOfMessage()))
    return b"".join(part for part in sent if part)


@given(PIECES, st.booleans(), st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_any_cut_of_an_answer_gives_its_body_and_its_end(
    pieces: list[bytes], is_chunked: bool, cuts: list[int]
) -> None:
    wire = answer_of(pieces, is_chunked=is_chunked)
    framing, body, at = AnswerFraming(), b"", 0
    while at < len(wire):
        assert not framing.is_complete
        size = cuts[at % len(cuts)]
        body += framing.feed(wire[at : at + size])
        at += size
    assert framing.is_complete
    assert framing.status == 200
    assert framing.keeps_alive
    assert body == b"".join(pieces)


def test_an_answer_without_length_ends_with_the_connection() -> None:
    framing = AnswerFraming()
    assert framing.feed(b"HTTP/1.1 200 OK\r\n\r\nall of it") == b"all of it"
    assert not framing.is_complete
    assert framing.close()
    assert not framing.keeps_alive


def test_a_chunked_answer_that_closes_early_is_not_complete() -> None:
    framing = AnswerFraming()
    framing.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel")
    assert not framing.close()


def test_interim_answers_are_passed_over() -> None:
    framing = AnswerFraming()
    body = framing.feed(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    )
    assert (framing.status, body, framing.is_complete) == (200, b"ok", True)


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_http_is_refused(wire: bytes) -> None:
    with pytest.raises(BadFraming):
        AnswerFraming().feed(wire)
