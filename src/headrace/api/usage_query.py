"""How usage is asked for: a stretch of time in buckets, filters, and what to group by.

Names and forms are those of OpenAI's usage API.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from starlette.datastructures import QueryParams

from headrace.api.operation import query
from headrace.errors import InvalidRequest
from headrace.store import UsageSum

Field = Literal["project_id", "api_key_id", "model"]

_DAY_S = 86_400
_LATEST_UNIX = 1 << 40
_WIDTHS_S = {"1m": 60, "1h": 3_600, "1d": _DAY_S}
_BUCKETS = {60: (60, 1_440), 3_600: (24, 168), _DAY_S: (7, 31)}  # when not asked for, and at most
_MOST_FILTERS = 100
_FILTERS = ("project_ids", "api_key_ids", "models")

TIME_PARAMETERS = (
    query("start_time", {"type": "integer", "minimum": 0}, "Unix seconds; a page's length ago"),
    query("end_time", {"type": "integer", "minimum": 1}, "not included; now"),
)
FILTER_PARAMETERS = tuple(
    query(name, {"type": "array", "items": {"type": "string"}}, "only of these; may be repeated")
    for name in _FILTERS
)


def bucket_parameters(fields: Iterable[str], widths: Sequence[str]) -> tuple[Any, ...]:
    """What the document says of such a query."""
    return (
        *TIME_PARAMETERS,
        query("bucket_width", {"enum": list(widths)}, widths[-1]),
        query("limit", {"type": "integer", "minimum": 1, "maximum": 1_440}, "buckets of a page"),
        query("page", {"type": "string", "pattern": "^[0-9]{1,12}$"}, "`next_page` of the last"),
        query("group_by", {"type": "array", "items": {"enum": list(fields)}}, "may be repeated"),
        *FILTER_PARAMETERS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Whose use counts; None: everybody's."""

    project_ids: frozenset[str] | None = None
    api_key_ids: frozenset[str] | None = None
    models: frozenset[str] | None = None

    def allow(self, use: UsageSum) -> bool:
        """Whether it counts."""
        return (
            (self.project_ids is None or use.project_id in self.project_ids)
            and (self.api_key_ids is None or use.key_id in self.api_key_ids)
            and (self.models is None or use.model in self.models)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """One page of buckets: from `start` on, `count` of `width_s`, the last cut at `end`."""

    start: int
    end: int
    width_s: int
    group_by: tuple[str, ...]
    filters: Filters
    next_page: str | None

    def grouped(
        self, sums: Iterable[UsageSum], names: Mapping[str, str]
    ) -> Iterable[tuple[int, int, Mapping[tuple[str | None, ...], list[UsageSum]]]]:
        """For each bucket its begin, its end, and its sums by what is grouped by.

        `names` gives the attribute of a sum for each field; a field that is not grouped by is None.
        """
        by_bucket: dict[int, dict[tuple[str | None, ...], list[UsageSum]]] = {}
        for use in sums:
            if self.filters.allow(use):
                key = tuple(
                    getattr(use, attribute) if name in self.group_by else None
                    for name, attribute in names.items()
                )
                by_bucket.setdefault(use.start_unix, {}).setdefault(key, []).append(use)
        for start in range(self.start, self.end, self.width_s):
            yield start, min(start + self.width_s, self.end), by_bucket.get(start, {})


def read_buckets(
    asked: QueryParams, now_unix: float, *, fields: Sequence[str], widths: Sequence[str]
) -> Buckets:
    """The page a query asks for. Raises InvalidRequest, naming the parameter."""
    width = asked.get("bucket_width", widths[-1])
    if width not in widths:
        raise InvalidRequest(f"bucket_width: one of {', '.join(widths)}", param="bucket_width")
    width_s = _WIDTHS_S[width]
    usual, most = _BUCKETS[width_s]
    count = _number(asked, "limit", usual, most)
    end = _number(asked, "end_time", int(now_unix) + 1, _LATEST_UNIX)
    begin = _number(asked, "start_time", max(0, end - usual * width_s), _LATEST_UNIX, least=0)
    begin -= begin % width_s  # buckets begin with the minute, the hour, the day (UTC)
    start = _number(asked, "page", begin, _LATEST_UNIX, least=0)
    if start < begin or (start - begin) % width_s:
        raise InvalidRequest("page: `next_page` of the page before", param="page")
    if end <= begin:
        raise InvalidRequest("end_time: must come after start_time", param="end_time")
    stop = min(end, start + count * width_s)
    group_by = _words(asked, "group_by")
    if not group_by <= set(fields):
        raise InvalidRequest(f"group_by: of {', '.join(fields)}", param="group_by")
    return Buckets(
        start=start,
        end=stop,
        width_s=width_s,
        group_by=tuple(group_by),
        filters=read_filters(asked),
        next_page=str(stop) if stop < end else None,
    )


def read_filters(asked: QueryParams) -> Filters:
    """What a query restricts itself to. Raises InvalidRequest for very many."""
    return Filters(**{name: _words(asked, name) or None for name in _FILTERS})


def read_stretch(asked: QueryParams, now_unix: float) -> tuple[int, int]:
    """Begin and end, by default the last week. Raises InvalidRequest."""
    end = _number(asked, "end_time", int(now_unix) + 1, _LATEST_UNIX)
    start = _number(asked, "start_time", max(0, end - 7 * _DAY_S), _LATEST_UNIX, least=0)
    if end <= start:
        raise InvalidRequest("end_time: must come after start_time", param="end_time")
    return start, end


def _number(asked: QueryParams, name: str, usual: int, most: int, *, least: int = 1) -> int:
    word = asked.get(name)
    if word is None:
        return usual
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 14 else -1
    if not least <= number <= most:
        raise InvalidRequest(f"{name}: a whole number between {least} and {most}", param=name)
    return number


def _words(asked: QueryParams, name: str) -> frozenset[str]:
    """Of a list: repeated, with brackets, or with commas."""
    raw = [*asked.getlist(name), *asked.getlist(f"{name}[]")]
    words = frozenset(word for text in raw for word in text.split(",") if word)
    if len(words) > _MOST_FILTERS:
        raise InvalidRequest(f"{name}: {_MOST_FILTERS} at most", param=name)
    return words
