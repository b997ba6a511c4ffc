"""The only SQL: what must survive the process."""

from headrace.store.sqlite import KeyRecord, SqliteStore

__all__ = ["KeyRecord", "SqliteStore"]
