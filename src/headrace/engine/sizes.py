"""How much cache an engine gets: resolved once, before anything is allocated."""

from headrace.backends.base import BLOCK_TOKENS
from headrace.engine.block_pool import blocks_for
from headrace.errors import ConfigError
from headrace.model.program import Program

DEFAULT_CONTEXTS = 16  # full contexts held at once, memory permitting
DEFAULT_KV_BYTES = 1 << 30


def resolve_num_blocks(program: Program, kv_tokens: int) -> int:
    """KV blocks for `kv_tokens` cached tokens over all sequences; 0 chooses.

    The choice is 16 full contexts or 1 GiB, whichever is smaller. The longest context a request
    may have is the model's own, or all of the cache when that is smaller.
    Raises ConfigError when not even one block fits.
    """
    if kv_tokens == 0:
        affordable = DEFAULT_KV_BYTES // max(program.kv_bytes_per_token, 1)
        kv_tokens = min(DEFAULT_CONTEXTS * program.max_positions, affordable)
    if kv_tokens < BLOCK_TOKENS:
        raise ConfigError(
            f"setting 'engine.kv_tokens' must hold at least one block of {BLOCK_TOKENS} tokens"
        )
    return blocks_for(kv_tokens, BLOCK_TOKENS)
