"""Several streams read as one."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from headrace.gateway.merged import Merged


async def numbers(
    *values: int, closed: list[int], error: Exception | None = None
) -> AsyncGenerator[int]:
    """The values, then the error, or a wait without end."""
    try:
        for value in values:
            yield value
            await asyncio.sleep(0)
        if error is not None:
            raise error
        await asyncio.Event().wait()
    finally:
        closed.append(values[0])


def test_every_item_comes_from_its_stream_in_order() -> None:
    closed: list[int] = []

    async def run() -> list[tuple[int, int]]:
        async with Merged([numbers(i, i + 1, closed=closed) for i in (10, 20, 30)]) as merged:
            return [await merged.next() for _ in range(6)]

    found = asyncio.run(run())
    assert found[:3] == [(0, 10), (1, 20), (2, 30)], "they begin in their order"
    assert sorted(found) == [(i, 10 * i + 10 + j) for i in range(3) for j in range(2)]
    assert sorted(closed) == [10, 20, 30]


def test_one_is_closed_and_the_others_go_on() -> None:
    closed: list[int] = []

    async def run() -> None:
        async with Merged([numbers(1, closed=closed), numbers(2, 3, 4, closed=closed)]) as merged:
            assert await merged.next() == (0, 1)
            merged.close(0)
            assert [await merged.next() for _ in range(3)] == [(1, 2), (1, 3), (1, 4)]
            assert closed == [1]
            merged.close(0)  # twice is once

    asyncio.run(run())
    assert closed == [1, 2]


def test_an_error_is_raised_in_its_place_and_closes_all() -> None:
    closed: list[int] = []

    async def run() -> None:
        streams = [numbers(1, closed=closed, error=KeyError("k")), numbers(2, closed=closed)]
        with pytest.raises(KeyError):
            async with Merged(streams) as merged:
                while True:
                    await merged.next()

    asyncio.run(run())
    assert sorted(closed) == [1, 2]
