"""Log lines: one event, one line, whatever is in it."""

import io
import json
import logging
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.accounts.keys import generate_key
from headrace.telemetry.logs import Event, log_handler

WHEN_S = 1_700_000_000.25


def logged(form: str, message: object, *args: object, failed: BaseException | None = None) -> str:
    stream = io.StringIO()
    record = logging.LogRecord(
        "headrace.test",
        logging.WARNING,
        __file__,
        1,
        message,
        args,
        None if failed is None else (type(failed), failed, failed.__traceback__),
    )
    record.created = WHEN_S
    log_handler(stream, form).handle(record)
    return stream.getvalue()


def raised(message: str) -> BaseException:
    try:
        raise ValueError(message)
    except ValueError as exc:
        return exc


def test_json_has_time_level_logger_event_and_fields() -> None:
    event = Event("request", status=200, ms=1.23456, path="/v1", finish=None, stream=True)
    assert json.loads(logged("json", event)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "headrace.test",
        "event": "request",
        "status": 200,
        "ms": 1.235,
        "path": "/v1",
        "finish": None,
        "stream": True,
    }


def test_text_is_the_event_and_its_fields() -> None:
    line = logged("text", Event("request", status=200, ms=1.26, path="/a b"))
    assert line.endswith(
        'level=WARNING logger=headrace.test request status=200 ms=1.3 path="/a b"\n'
    )


def test_libraries_messages_go_the_same_way() -> None:
    assert json.loads(logged("json", "took %d tries", 3))["event"] == "took 3 tries"
    assert logged("text", "took %d tries", 3).endswith("logger=headrace.test took 3 tries\n")


def test_a_trace_is_one_field_in_json() -> None:
    line = logged("json", Event("failed", id="req_1"), failed=raised("detail"))
    assert line.count("\n") == 1
    said = json.loads(line)
    assert said["trace"].startswith("Traceback")
    assert said["trace"].endswith("ValueError: detail")


def test_a_trace_in_text_cannot_begin_a_line() -> None:
    forged = "x\n2026-01-01 00:00:00,000 level=INFO logger=headrace.api request status=200\r\x1b[2J"
    first, *rest = logged("text", Event("failed"), failed=raised(forged)).splitlines()
    assert first.endswith("failed")
    assert rest
    assert all(line.startswith("  ") for line in rest)
    assert "\\r\\x1b[2J" in rest[-1]


@pytest.mark.guards("D39")
@given(name=st.text(max_size=9), value=st.text(), key=st.sampled_from(["path", "model", "event"]))
@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_breaks_the_line(form: str, name: str, value: str, key: str) -> None:
    for message in (Event(f"e{name}", **{key: value}), f"e{name} {value}"):
        line = logged(form, message)
        assert line.endswith("\n")
        assert len(line.splitlines()) == 1
        if form == "json":
            assert json.loads(line)["logger"] == "headrace.test"


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=4))
def test_fields_do_not_stand_for_the_events_own_words(fields: dict[str, str]) -> None:
    said = json.loads(logged("json", Event("request", **{**fields, "level": "x", "time": "x"})))
    assert (said["level"], said["time"], said["logger"]) == (
        "warning",
        "2023-11-14T22:13:20.250Z",
        "headrace.test",
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_key_that_strays_into_an_event_is_masked(form: str) -> None:
    secret = generate_key(random.Random(7).randbytes)
    event = Event("request", path=f"/v1/models/{secret}")
    lines = [
        logged(form, event),
        logged(form, "refused %s", secret),
        logged(form, event, failed=raised(secret)),
    ]
    assert not any(secret[:12] in line or secret[-9:] in line for line in lines)


def test_an_event_nobody_logs_is_not_spelled() -> None:
    class Loud:
        def __str__(self) -> str:
            raise AssertionError("spelled")

    logger = logging.getLogger("headrace.test.quiet")
    logger.setLevel(logging.ERROR)
    logger.info(Event("e", value=Loud()))


def test_handlers_write_where_they_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    handler = log_handler(sys.stderr, "text")
    handler.handle(logging.makeLogRecord({"msg": "hello"}))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("hello\n")
