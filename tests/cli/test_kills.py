"""R1: `kill -9` of a server and of its engine while it streams to many.

Whatever a client was told, the books say the same, once.
"""

import os
import random
from pathlib import Path

import pytest

from headrace.model import bundled_model
from headrace.prove.crowd import Told
from headrace.prove.kills import faults, killed, paid_server, recover


def rounds(folder: Path, seed: int, number: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    server = paid_server(folder, bundled_model())
    told: list[Told] = []
    for _ in range(number):
        told += killed(server, rng)
    recover(server)
    assert sum(each.is_whole for each in told) > number
    assert sum(bool(each.id) and not each.is_whole for each in told) > number
    assert faults(told, server.home) == []


def test_what_clients_saw_before_a_kill_is_what_is_written(tmp_path: Path) -> None:
    """Ten kills of an engine, ten of its front."""
    rounds(tmp_path, int.from_bytes(os.urandom(4), "little"), 10)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
def test_after_many_kills_too(tmp_path: Path, seed: int) -> None:
    rounds(tmp_path, seed, 10)
