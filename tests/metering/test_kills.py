"""R1: a process is killed at any moment; what its client saw is what is written down."""

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.metering.world import World

ROOT = Path(__file__).parents[2]


def killed(home: Path, seed: int) -> list[list[str]]:
    """What the client saw until the process was killed, after a random number of lines."""
    rng = random.Random(seed)
    command = [sys.executable, "-m", "tests.metering.victim", str(home), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as victim:
        assert victim.stdout is not None
        seen = [victim.stdout.readline().split()]
        assert seen == [["ready"]]
        lines = rng.randint(1, 3_000)
        seen += [victim.stdout.readline().split() for _ in range(lines)]
        os.kill(victim.pid, 9)
        # What was in the pipe was handed over, too; a last line may be torn.
        rest = victim.stdout.read()
    whole, _, _ = rest.rpartition("\n")
    return seen[1:] + [line.split() for line in whole.splitlines()]


@pytest.mark.parametrize("seed", range(20))
def test_after_a_kill_every_request_has_one_record_of_what_was_delivered(
    tmp_path: Path, seed: int
) -> None:
    check(tmp_path, seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20, 200))
def test_after_many_kills_too(tmp_path: Path, seed: int) -> None:
    check(tmp_path, seed)


def check(home: Path, seed: int) -> None:
    print(f"seed {seed}")
    seen = killed(home, seed)
    delivered = Counter[str]()
    ended: dict[str, tuple[str, int]] = {}
    for kind, name, count in seen:
        if kind == "token":
            delivered[name] = int(count)
        else:
            ended[name] = kind, int(count)
    with World(home) as world:
        records = {record.request_id: record for record in world.records()}
        assert len(records) == len(world.records())
        for name, (kind, tokens) in ended.items():
            record = records[name]
            assert record.completion_tokens == tokens
            assert record.status == ("completed" if kind == "end" else "interrupted")
            assert record.cached_tokens == (3 if kind == "end" else 0)
        for name, tokens in delivered.items():
            # A token is counted before it is handed over: at most the one in hand is more.
            assert 0 <= records[name].completion_tokens - tokens <= 1
            if name not in ended and records[name].status == "completed":
                assert records[name].cached_tokens == 3, "it had ended, unseen"
        assert world.disagreements == []
        spent = sum(record.micros for record in records.values())
        assert world.balance == world.free == 10_000_000 - spent
