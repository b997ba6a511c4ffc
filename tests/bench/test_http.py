"""The transport against real sockets: the null server, and servers that misbehave."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.bench.client import Answer, HttpTransport, read_answer
from headrace.bench.metrics import ttft_s
from headrace.bench.null_script import NullScript
from headrace.bench.null_server import NullServer
from headrace.clock import SystemClock
from headrace.errors import ConfigError
from tests.bench.virtual import delta, sse

BODY = b'{"model":"null","messages":[{"role":"user","content":"one two"}],"max_tokens":12}'


def with_null(
    script: NullScript, ask: Callable[[HttpTransport], Awaitable[Any]], **options: Any
) -> Any:
    async def main() -> Any:
        server = NullServer(script)
        transport = HttpTransport(await server.start(), SystemClock(), **options)
        try:
            return await ask(transport)
        finally:
            await transport.close()
            await server.close()

    return asyncio.run(main())


async def ask_once(transport: HttpTransport) -> Answer:
    return read_answer(await transport.post(BODY))


def test_what_the_script_says_arrives() -> None:
    script = NullScript(first_s=0.0, gap_s=0.001, tokens=64, reasoning_tokens=4)
    answer = with_null(script, ask_once)
    assert answer.fault == ""
    assert (answer.prompt_tokens, answer.output_tokens) == (2, 12)
    assert len(answer.pieces) == 12
    assert len(answer.reasoning.split()) == 4
    assert len(answer.text.split()) == 8
    assert answer.finish == "length"
    assert answer.connect_s is not None


def test_nothing_is_earlier_than_the_script() -> None:
    answer = with_null(NullScript(first_s=0.02, gap_s=0.002), ask_once)
    first_s = ttft_s(answer)
    assert first_s is not None
    assert first_s >= 0.02
    times = [piece.at_s for piece in answer.pieces]
    assert times == sorted(times)
    assert times[-1] - answer.sent_s >= 0.02 + 11 * 0.002


def test_a_connection_is_used_again_and_then_has_no_set_up_time() -> None:
    async def ask(transport: HttpTransport) -> list[Answer]:
        return [await ask_once(transport) for _ in range(3)]

    answers = with_null(NullScript(first_s=0.0, gap_s=0.0), ask)
    assert [a.connect_s is None for a in answers] == [False, True, True]
    assert [a.fault for a in answers] == ["", "", ""]


def test_streams_run_side_by_side_on_connections_of_their_own() -> None:
    async def ask(transport: HttpTransport) -> list[Answer]:
        return await asyncio.gather(*(ask_once(transport) for _ in range(40)))

    answers = with_null(NullScript(first_s=0.01, gap_s=0.001), ask)
    assert {(a.fault, a.output_tokens) for a in answers} == {("", 12)}


def test_pieces_are_seen_as_they_come() -> None:
    seen: list[float] = []

    async def ask(transport: HttpTransport) -> Answer:
        exchange = await transport.post(BODY, lambda at_s, _: seen.append(at_s))
        return read_answer(exchange)

    answer = with_null(NullScript(first_s=0.0, gap_s=0.001), ask)
    assert seen[0] <= answer.pieces[0].at_s
    assert seen[-1] >= answer.pieces[-1].at_s


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (NullScript(cut_after=4, first_s=0.0, gap_s=0.0), "the connection broke off: closed"),
        (NullScript(status=429), "status 429"),
    ],
)
def test_what_goes_wrong_is_said(script: NullScript, fault: str) -> None:
    answer = with_null(script, ask_once)
    assert answer.fault == fault
    assert len(answer.pieces) == (3 if script.cut_after else 0)


def test_an_answer_that_does_not_end_in_time_is_a_fault() -> None:
    answer = with_null(NullScript(first_s=60.0), ask_once, timeout_s=0.05)
    assert answer.fault == "no end within 0.05 s"


def test_a_closed_port_is_a_fault() -> None:
    async def main() -> Answer:
        server = NullServer(NullScript())
        url = await server.start()
        await server.close()
        return await ask_once(HttpTransport(url, SystemClock()))

    assert asyncio.run(main()).fault.startswith("no connection: ")


def test_a_connection_that_was_closed_while_idle_is_not_a_fault() -> None:
    served: list[int] = []
    talks: list[asyncio.Task[None]] = []
    stream = sse(delta(content="a", finish="stop"))
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(stream)}"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer once; read a second request and close the connection."""
        talks.append(asyncio.current_task())  # type: ignore[arg-type]
        served.append(0)
        try:
            for _ in range(2):
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(BODY))
                served[-1] += 1
                if served[-1] == 1:
                    writer.write(f"{head}\r\n\r\n".encode() + stream)
        finally:
            writer.close()

    async def main() -> list[Answer]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = HttpTransport(f"http://127.0.0.1:{port}", SystemClock())
        answers = [await ask_once(transport) for _ in range(2)]
        await transport.close()
        server.close()
        await asyncio.wait(talks)
        # The last one ended with the connection, in the middle of its wait.
        assert isinstance(talks[1].exception(), asyncio.IncompleteReadError)
        return answers

    answers = asyncio.run(main())
    assert [a.fault for a in answers] == ["", ""]
    assert [a.connect_s is None for a in answers] == [False, False]
    assert served == [2, 1]


@pytest.mark.parametrize("url", ["ftp://a", "http://", "//", "http://a:99999"])
def test_an_address_must_be_one(url: str) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        HttpTransport(url, SystemClock())


def test_a_key_and_a_path_go_with_the_request() -> None:
    heads: list[bytes] = []

    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 204 None\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"127.0.0.1:{port}/openai/v1/"
        await HttpTransport(url, SystemClock(), key="hr-secret").post(BODY)
        server.close()
        await server.wait_closed()

    asyncio.run(main())
    assert heads[0].startswith(b"POST /openai/v1/chat/completions HTTP/1.1\r\n")
    assert b"authorization: Bearer hr-secret\r\n" in heads[0]
