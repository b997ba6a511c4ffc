"""The log: one event, one record, as text for people or as JSON lines for machines.

Events are names with fields, `log.info(Event("request", status=200))`. They never hold prompts,
answers, keys or header values; nothing in them can begin a line of its own.
"""

import json
import logging
import re
from datetime import UTC, datetime
from typing import TextIO

_PLAIN = re.compile(r"[A-Za-z0-9_./:@+%-]+", re.ASCII)
_KEY = re.compile(r"hr-[0-9A-Za-z]{20,}", re.ASCII)  # as accounts.keys spells them
_MAX_CHARS = 200  # of a field
_TEXT = "%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"


class Event:
    """What happened, for the standard `logging` module; spelled out only if somebody logs it."""

    def __init__(self, name: str, /, **fields: object) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        """`name key=value …`; odd text is quoted and escaped, so an event is always one line."""
        return " ".join([self.name, *(f"{key}={_word(v)}" for key, v in self.fields.items())])


class TextFormatter(logging.Formatter):
    """Lines for people. A trace follows its line, indented: no line of it can pass for another."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the base class's way)
        """The line itself."""
        return _without_keys(_printable(super().formatMessage(record)))

    def formatException(self, ei: object) -> str:  # noqa: N802 (as above)
        """The trace below it."""
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]
        return _without_keys("\n".join("  " + _printable(line) for line in lines))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, all ASCII: time, level, logger, event, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a trace is the field `trace`."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if isinstance(record.msg, Event):
            fields = {name: _json(value) for name, value in record.msg.fields.items()}
            said |= {"event": record.msg.name, **fields, **said}
        else:
            said["event"] = record.getMessage()
        if record.exc_info:
            said["trace"] = self.formatException(record.exc_info)
        return _without_keys(json.dumps(said))


def log_handler(stream: TextIO, form: str) -> logging.Handler:
    """A handler that writes `form`, "text" or "json", to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    return handler


def set_up_logging(level: str, form: str, stream: TextIO) -> None:
    """Send the log of this process, ours and the libraries', to `stream`, from `level` on."""
    logging.basicConfig(handlers=[log_handler(stream, form)])
    set_level(level)


def set_level(level: str) -> None:
    """From now on, this is what is logged in this process."""
    logging.root.setLevel(level.upper())
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.root.level))


def _word(value: object) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)[:_MAX_CHARS]
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _json(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    return round(value, 3) if isinstance(value, float) else str(value)[:_MAX_CHARS]


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _without_keys(text: str) -> str:
    return _KEY.sub("hr-…", text) if "hr-" in text else text
