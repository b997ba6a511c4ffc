import asyncio
import threading

import pytest
from argon2 import extract_parameters
from argon2.low_level import Type

from headrace.accounts import check_password, hash_password, passwords
from headrace.accounts.passwords import Passwords
from headrace.errors import InvalidRequest, LoginsBusy

PASSWORD = "correct horse battery"


@pytest.mark.guards("D30")
def test_a_hash_is_argon2id_of_19_mib_and_two_passes():
    known = extract_parameters(hash_password(PASSWORD))
    assert known.type is Type.ID
    assert known.memory_cost >= 19 * 1024
    assert known.time_cost >= 2


def test_a_password_is_recognised_and_no_other():
    async def check() -> list[bool]:
        pool = Passwords()
        known = await pool.hash(PASSWORD)
        assert known != await pool.hash(PASSWORD), "each has a salt of its own"
        tried = (PASSWORD, PASSWORD + " ", PASSWORD[:-1], known, "", "x" * 300)
        found = [await pool.verify(known, each) for each in tried]
        found += [await pool.verify(None, each) for each in (PASSWORD, "nobody has this password")]
        found += [await pool.verify("no hash", PASSWORD)]
        pool.close()
        return found

    assert asyncio.run(check()) == [True] + [False] * 8


@pytest.mark.parametrize("password", ["", "short", "x" * 11, "x" * 257])
def test_a_password_is_neither_short_nor_endless(password: str):
    with pytest.raises(InvalidRequest):
        check_password(password)


@pytest.mark.guards("D30")
def test_two_are_checked_at_a_time_and_few_wait(monkeypatch: pytest.MonkeyPatch):
    """Also when those who wait hang up: their places are taken until the work is done."""
    go = threading.Event()
    at_work = threading.Semaphore(0)

    def slow(known: str | None, password: str) -> bool:
        at_work.release()
        return go.wait(30)

    monkeypatch.setattr(passwords, "_matches", slow)

    async def check() -> None:
        pool = Passwords(max_waiting=3)
        tasks = [asyncio.create_task(pool.verify(None, "x")) for _ in range(5)]
        await asyncio.to_thread(lambda: (at_work.acquire(), at_work.acquire()))
        assert not at_work.acquire(blocking=False)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with pytest.raises(LoginsBusy):
            await pool.verify(None, "x")
        go.set()
        await asyncio.to_thread(pool.close)

    asyncio.run(check())
