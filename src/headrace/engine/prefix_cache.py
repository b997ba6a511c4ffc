"""Finding blocks that hold the beginning of a prompt already.

A full block is named by a keyed digest of everything up to its end: the tenant's name, the
digest of the block before, its own tokens (BLAKE2b, 128 bits). Equal names therefore mean equal
prefixes of the same tenant; nobody can find, or time, what another tenant's prompts left behind.
"""

from hashlib import blake2b

import numpy as np

from headrace.engine.block_pool import BlockPool
from headrace.engine.sequence import Sequence

DIGEST_BYTES = 16


def matching_blocks(pool: BlockPool, sequence: Sequence) -> list[int]:
    """The longest run of known blocks that `sequence` begins with.

    Tokens whose rows are wanted are left to compute; see `Sequence.num_reusable`.
    """
    blocks: list[int] = []
    for name in _names(sequence, sequence.num_reusable // pool.block_tokens, pool):
        block = pool.find(name)
        if block is None:
            break
        blocks.append(block)
    return blocks


def name_blocks(pool: BlockPool, sequence: Sequence, before: int) -> None:
    """Name the blocks that became full when `computed` rose from `before`."""
    first, last = before // pool.block_tokens, sequence.computed // pool.block_tokens
    if last > first:
        names = _names(sequence, last, pool)
        for i in range(first, last):
            pool.name(sequence.blocks[i], names[i])


def _names(sequence: Sequence, count: int, pool: BlockPool) -> list[bytes]:
    """Names of the first `count` full blocks; kept on the sequence, whose tokens only grow."""
    names = sequence.block_names
    for i in range(len(names), count):
        tokens = sequence.tokens[i * pool.block_tokens : (i + 1) * pool.block_tokens]
        before = names[-1] if names else b""
        content = before + np.array(tokens, np.int32).tobytes()
        key = blake2b(sequence.asked.tenant.encode()).digest()
        names.append(blake2b(content, digest_size=DIGEST_BYTES, key=key).digest())
    return names[:count]
