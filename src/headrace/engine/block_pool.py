"""The KV blocks: who holds which. The only file that knows free lists and reference counts.

A block is free (nobody holds it, nothing in it is of use), idle (nobody holds it, but it has a name
under which it may be found again), or held by one or more sequences. Idle blocks count as free to
take: the one that was let go longest ago is taken first, and loses its name.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from headrace.errors import EngineError


def blocks_for(num_tokens: int, block_tokens: int) -> int:
    """Blocks needed to hold `num_tokens` (>= 0), the last one possibly part-filled."""
    return -(-num_tokens // block_tokens)


class BlockPool:
    """Hands out block ids 0 .. total-1."""

    def __init__(self, total: int, block_tokens: int) -> None:
        self.total = total
        self.block_tokens = block_tokens
        self._free = list(range(total - 1, -1, -1))
        self._idle: dict[int, None] = {}  # let go longest ago first
        self._holders = [0] * total
        self._names: dict[int, bytes] = {}
        self._named: dict[bytes, int] = {}

    @property
    def num_free(self) -> int:
        """Blocks nobody holds."""
        return len(self._free) + len(self._idle)

    def grow(self, held: list[int], num_tokens: int) -> bool:
        """Extend `held` in place until it can hold `num_tokens`; all or nothing."""
        missing = blocks_for(num_tokens, self.block_tokens) - len(held)
        if missing > self.num_free:
            return False
        for _ in range(missing):
            block = self._free.pop() if self._free else self._evict()
            self._holders[block] = 1
            held.append(block)
        return True

    def share(self, held: list[int], blocks: Sequence[int]) -> None:
        """Append named `blocks` to `held`, one more holder each."""
        for block in blocks:
            self._idle.pop(block, None)
            self._holders[block] += 1
        held.extend(blocks)

    def release(self, held: list[int]) -> None:
        """Let go of all of `held` and empty it. The end of a prefix is the first to be evicted."""
        for block in reversed(held):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._names:
                self._idle[block] = None
            else:
                self._free.append(block)
        held.clear()

    def name(self, block: int, name: bytes) -> None:
        """Let a held block be found by `name`; the first block of a name keeps it."""
        if name not in self._named and block not in self._names:
            self._named[name] = block
            self._names[block] = name

    def find(self, name: bytes) -> int | None:
        """The block of that name, held or idle."""
        return self._named.get(name)

    def num_sole(self, held: Iterable[int]) -> int:
        """How many of `held` nobody else holds: what letting go of them would free."""
        return sum(self._holders[block] == 1 for block in held)

    def clear(self) -> None:
        """Make every block free; whoever held one must forget it."""
        self._free = list(range(self.total - 1, -1, -1))
        self._idle.clear()
        self._holders = [0] * self.total
        self._names.clear()
        self._named.clear()

    def check_integrity(self, held: Iterable[list[int]] = ()) -> None:
        """Raise EngineError unless `held` are all there is beside free and idle blocks."""
        holders = Counter(block for blocks in held for block in blocks)
        counted = [holders[block] for block in range(self.total)]
        unheld = sorted([*self._free, *self._idle])
        if counted != self._holders or unheld != [b for b in range(self.total) if not counted[b]]:
            raise EngineError("KV blocks were lost or doubled")
        if {b: n for n, b in self._named.items()} != self._names or self._names.keys() & set(
            self._free
        ):
            raise EngineError("a name leads to the wrong KV block")

    def _evict(self) -> int:
        block = next(iter(self._idle))
        del self._idle[block]
        del self._named[self._names.pop(block)]
        return block
