"""The slots, as somebody sees them who looks from another process at any moment."""

import subprocess
import sys
from pathlib import Path

from msgspec.structs import replace

from headrace.metering import Reservation, Slots, copy_of, is_in_use
from headrace.metering.slots import at_rest
from headrace.types import Usage

RESERVATION = Reservation(
    request_id="r",
    organisation_id="org",
    project_id="proj",
    key_id="key",
    tier="developer",
    model="m",
    price_version="m@start",
    input_micros=1,
    cached_micros=1,
    output_micros=1,
    lease_id=0,
    reserved_micros=1,
    received_unix=0.0,
)
# Reads the first words of the last slot until it is told to stop, and says what it saw go down.
READER = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    words = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
first = len(words) - 128
last = [0] * 5
print("ready", flush=True)
while not words[first + 3]:
    for i in (0, 1, 2, 4):
        seen = words[first + i]
        if seen < last[i]:
            print("word", i, "went from", last[i], "to", seen, flush=True)
            sys.exit(1)
        last[i] = seen
"""


def test_no_number_is_ever_less_than_it_was(tmp_path: Path) -> None:
    """A process that is killed at any moment leaves what it had counted, not a cleared word."""
    with Slots(tmp_path / "slots", 4) as slots:
        slot = slots.take(RESERVATION)
        slots.start(slot, 10)
        words, counted_at = slots.counter(slot)
        command = [sys.executable, "-c", READER, str(tmp_path / "slots")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
            for tokens in range(200_000):
                words[counted_at] = tokens
                slots.start(slot, 10)
                slots.end(
                    slot,
                    Usage(prompt_tokens=10, completion_tokens=tokens, cached_tokens=3),
                    is_whole=tokens > 0,
                )
            slots.end(
                slot,
                Usage(
                    prompt_tokens=10, completion_tokens=1 << 40, cached_tokens=3, reasoning_tokens=1
                ),
            )
            assert reader.stdout.read() == ""
        assert reader.returncode == 0


def test_a_slot_is_copied_at_rest():
    """Half of one request and half of the next is seen once, then never again."""
    seen = [b"old", b"odd", b"nod", b"new", b"new", b"later"]
    assert at_rest(lambda: seen.pop(0)) == b"new"
    assert seen == [b"later"]


def test_a_copy_reads_as_the_file_does_while_a_server_has_it(tmp_path: Path):
    with Slots(tmp_path / "slots-0", 4) as slots:
        assert is_in_use(tmp_path / "slots-0")
        taken = [slots.take(replace(RESERVATION, request_id=f"r{n}")) for n in range(3)]
        slots.start(taken[1], 12)
        words, counted_at = slots.counter(taken[1])
        words[counted_at] = 5
        slots.free(taken[0])
        before = list(slots.left_behind())
        (tmp_path / "copy").write_bytes(copy_of(tmp_path / "slots-0"))
    assert not is_in_use(tmp_path / "slots-0")
    with Slots(tmp_path / "copy", 1) as copy:
        assert list(copy.left_behind()) == before
