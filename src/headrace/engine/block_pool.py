"""The KV blocks: who has which. The only file that knows the free list."""

from collections.abc import Iterable

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

    @property
    def num_free(self) -> int:
        """Blocks nobody holds."""
        return len(self._free)

    def grow(self, held: list[int], num_tokens: int) -> bool:
        """Extend `held` in place until it can hold `num_tokens`; all or nothing."""
        missing = blocks_for(num_tokens, self.block_tokens) - len(held)
        if missing > len(self._free):
            return False
        if missing > 0:
            held.extend(self._free[: -missing - 1 : -1])
            del self._free[-missing:]
        return True

    def release(self, held: list[int]) -> None:
        """Take back all of `held` and empty it."""
        self._free.extend(reversed(held))
        held.clear()

    def check_integrity(self, held: Iterable[list[int]] = ()) -> None:
        """Raise EngineError unless free and `held` blocks are together each block once."""
        seen = sorted([*self._free, *(block for blocks in held for block in blocks)])
        if seen != list(range(self.total)):
            raise EngineError("KV blocks were lost or doubled")
