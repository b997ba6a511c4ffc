"""Several streams read as one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class Merged(Generic[Item]):
    """Reads streams side by side, each in a task of its own, from `async with` on.

    They begin in their order. What they say comes in the order in which they say it; leaving the
    block closes those that are still open.
    """

    def __init__(self, streams: Sequence[AsyncGenerator[Item, None]]) -> None:
        self._streams = streams
        self._said: asyncio.Queue[tuple[int, Item | Exception]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._read(index, stream))
            for index, stream in enumerate(self._streams)
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def next(self) -> tuple[int, Item]:
        """The next item, and the number of the stream it is from. Raises what a stream raised.

        Of a stream that was closed there may be items still.
        """
        index, item = await self._said.get()
        if isinstance(item, Exception):
            raise item
        return index, item

    def close(self, index: int) -> None:
        """Close one stream, if it has not ended; the others go on."""
        self._tasks[index].cancel()

    async def _read(self, index: int, stream: AsyncGenerator[Item, None]) -> None:
        try:
            async with aclosing(stream):
                async for item in stream:
                    self._said.put_nowait((index, item))
        except Exception as exc:  # noqa: BLE001 (raised again by `next`)
            self._said.put_nowait((index, exc))
