"""What of the settings may change while the server runs; the rest waits for its next start.

Live is what is judged anew for each request. What runs keeps what it began with: its price stands
in its reservation, its time limit in its terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from headrace.config import Config

LIVE = (
    "tiers",
    "prices",
    "api.request_timeout_s",
    "api.strict_params",
    "accounts.end_revoked_streams",
    "log.level",
)


@dataclass(frozen=True, slots=True)
class Change:
    """From the settings in force to others."""

    config: Config  # in force from now on: the old ones, with what is live of the new
    live: Sequence[str]  # names of settings that change now
    waiting: Sequence[str]  # that would, at the next start


def change(old: Config, new: Config) -> Change:
    """What follows from settings that were read again."""
    names = _differences(old, new)
    live = [name for name in names if name in LIVE]
    config = old
    for name in live:
        config = _with(config, new, name)
    return Change(config, live, [name for name in names if name not in LIVE])


def _differences(old: Config, new: Config) -> list[str]:
    """Names as in the file; models, prices and tiers are told as a whole."""
    found: list[str] = []
    for section in fields(Config):
        before, after = getattr(old, section.name), getattr(new, section.name)
        if before == after:
            continue
        if is_dataclass(before):
            found += [
                f"{section.name}.{field.name}"
                for field in fields(before)
                if getattr(before, field.name) != getattr(after, field.name)
            ]
        else:
            found.append(section.name)
    return found


def _with(config: Config, new: Config, name: str) -> Config:
    section, _, field = name.partition(".")
    value = getattr(new, section)
    if field:
        changes: dict[str, Any] = {field: getattr(value, field)}
        value = replace(getattr(config, section), **changes)
    changed: dict[str, Any] = {section: value}
    return replace(config, **changed)
