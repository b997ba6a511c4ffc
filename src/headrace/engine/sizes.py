"""How much cache each engine gets: decided once, before anything is allocated. Pure.

Memory is planned, then taken: a backend touches its cache from its first step on, so that what was
promised is there, and a model that does not fit is a sentence now and no killed process later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.footprint import Footprint
from headrace.backends.host import Memory
from headrace.engine.block_pool import blocks_for
from headrace.errors import ConfigError

DEFAULT_CONTEXTS = 16  # full contexts held at once, as far as the next line goes
DEFAULT_KV_BYTES = 1 << 30
LEAST_CONTEXT = 2_048  # tokens; a model that has no memory for so many is refused
# What the default leaves to the rest of the machine, and what a cache that was asked for leaves:
# a share of the memory, but no more than so many bytes.
ROOM_BY_DEFAULT = (1 / 5, 8 << 30)
ROOM_AT_LEAST = (1 / 20, 1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A model that shall be loaded."""

    name: str
    max_positions: int  # tokens the model itself can take
    footprint: Footprint


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPlan:
    """The cache of one model."""

    num_blocks: int
    kv_bytes: int
    context_tokens: int  # longest request


def plan_memory(wanted: Sequence[Wanted], memory: Memory, kv_tokens: int) -> tuple[KvPlan, ...]:
    """The cache of each model that shall be loaded; `kv_tokens` each, 0 chooses.

    The choice is 16 full contexts or 1 GiB, whichever is smaller, but at least one full context;
    and no more than an equal share of the memory that the weights leave. The longest request is the
    model's own context, or all of the cache when that is smaller.
    Raises ConfigError, naming the setting or the model, when it does not fit.
    """
    if 0 < kv_tokens < BLOCK_TOKENS:
        raise ConfigError(
            f"setting 'engine.kv_tokens' must hold at least one block of {BLOCK_TOKENS} tokens"
        )
    plans: list[KvPlan] = []
    taken = 0
    for i, model in enumerate(wanted):
        ample = _affordable(wanted, memory, ROOM_BY_DEFAULT) - taken
        most = _affordable(wanted, memory, ROOM_AT_LEAST) - taken
        if kv_tokens:
            most -= sum(_plan(later, kv_tokens).kv_bytes for later in wanted[i + 1 :])
        else:
            ample, most = ample // (len(wanted) - i), most // (len(wanted) - i)
        tokens = kv_tokens or _choice(model, ample, most)
        plan = _plan(model, tokens)
        if memory.total_bytes and (plan.kv_bytes > most or most < 0):
            raise ConfigError(_refusal(model, wanted, memory, kv_tokens, most))
        taken += plan.kv_bytes
        plans.append(plan)
    return tuple(plans)


def _affordable(wanted: Sequence[Wanted], memory: Memory, room: tuple[float, int]) -> int:
    """Bytes left for all caches; negative when the weights alone are too large."""
    if not memory.total_bytes:
        return 1 << 62  # the system does not tell
    share, most = room
    left = memory.available_bytes - min(int(share * memory.total_bytes), most)
    return left - _fixed(wanted)


def _fixed(wanted: Sequence[Wanted]) -> int:
    return sum(m.footprint.weight_bytes + m.footprint.working_bytes for m in wanted)


def _choice(model: Wanted, ample: int, most: int) -> int:
    per_token = max(model.footprint.kv_bytes_per_token, 1)
    several = min(DEFAULT_CONTEXTS * model.max_positions, DEFAULT_KV_BYTES // per_token)
    least = min(LEAST_CONTEXT, model.max_positions)
    fit = max(ample // per_token, min(most // per_token, least))
    if model.footprint.most_kv_tokens is not None:
        fit = min(fit, model.footprint.most_kv_tokens)
    tokens = min(max(several, model.max_positions), fit // BLOCK_TOKENS * BLOCK_TOKENS)
    return max(tokens, least)


def _plan(model: Wanted, tokens: int) -> KvPlan:
    num_blocks = blocks_for(tokens, BLOCK_TOKENS)
    return KvPlan(
        num_blocks=num_blocks,
        kv_bytes=num_blocks * BLOCK_TOKENS * model.footprint.kv_bytes_per_token,
        context_tokens=min(model.max_positions, num_blocks * BLOCK_TOKENS),
    )


def _refusal(
    model: Wanted, wanted: Sequence[Wanted], memory: Memory, kv_tokens: int, most: int
) -> str:
    names = " and ".join(m.name for m in wanted)
    facts = (
        f"{_fixed(wanted) / 1e9:.1f} GB for {names}, and "
        f"{memory.available_bytes / 1e9:.1f} GB of memory are free"
    )
    fit = most // max(model.footprint.kv_bytes_per_token, 1) // BLOCK_TOKENS * BLOCK_TOKENS
    if kv_tokens and fit >= BLOCK_TOKENS:
        asked = kv_tokens * model.footprint.kv_bytes_per_token / 1e9
        return (
            f"setting 'engine.kv_tokens' {kv_tokens} takes {asked:.1f} GB beside {facts}: "
            f"at most {fit} tokens fit"
        )
    return f"memory must hold {facts}: serve a smaller model, or free some"
