"""Memory planned, by hand: what fits, what is cut, and the one sentence where nothing does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.backends.footprint import Footprint
from headrace.backends.host import Memory
from headrace.engine.sizes import Wanted, plan_memory
from headrace.errors import ConfigError

GB = 10**9
GIB = 1 << 30
UNKNOWN = Memory(total_bytes=0, available_bytes=0)


def wanted(
    name: str = "m",
    *,
    weights: float = 1 * GB,
    per_token: int = 131_072,
    positions: int = 131_072,
    working: int = 0,
) -> Wanted:
    return Wanted(
        name=name,
        max_positions=positions,
        footprint=Footprint(
            weight_bytes=int(weights), kv_bytes_per_token=per_token, working_bytes=working
        ),
    )


def free(available: float, total: float = 0) -> Memory:
    return Memory(total_bytes=int(total or available), available_bytes=int(available))


LLAMA_8B = wanted("llama-8b", weights=16.06 * GB)  # 128 KiB of cache for a token


def test_a_machine_s_own_room_bounds_the_choice() -> None:
    small = wanted(per_token=3_072, positions=2_048)
    held = replace(small, footprint=replace(small.footprint, most_kv_tokens=4_096))
    (plan,) = plan_memory([held], free(16 * GIB), 0)
    assert plan.num_blocks * 16 == 4_096


def test_with_memory_a_model_gets_its_whole_context() -> None:
    (plan,) = plan_memory([LLAMA_8B], free(64 * GIB), 0)
    assert plan.context_tokens == 131_072
    assert plan.kv_bytes == 131_072 * 131_072  # 17.2 GB: one request of all of it, no more


def test_without_it_the_context_is_what_fits_and_a_fifth_is_left_to_others() -> None:
    memory = free(23 * GIB, total=24 * GIB)
    (plan,) = plan_memory([LLAMA_8B], memory, 0)
    left = 23 * GIB - 24 * GIB / 5 - 16.06 * GB
    assert plan.context_tokens == int(left / 131_072) // 16 * 16
    assert 16.06 * GB + plan.kv_bytes < 20 * GB


def test_a_small_model_gets_sixteen_contexts_or_one_gibibyte() -> None:
    memory = free(16 * GIB)
    (mini,) = plan_memory([wanted(per_token=3_072, positions=2_048)], memory, 0)
    assert mini.num_blocks * 16 == 16 * 2_048
    (some,) = plan_memory([wanted(per_token=32_768, positions=8_192)], memory, 0)
    assert some.kv_bytes == GIB
    (whole,) = plan_memory([wanted(per_token=32_768, positions=131_072)], memory, 0)
    assert whole.kv_bytes == 4 * GIB  # one context is never cut while memory allows it


def test_where_the_default_leaves_too_little_less_is_left_to_others() -> None:
    memory = free(20 * GB)
    (plan,) = plan_memory([wanted(weights=18 * GB)], memory, 0)
    assert plan.context_tokens == 2_048


def test_a_cache_that_was_asked_for_may_use_what_the_default_leaves() -> None:
    memory = free(23 * GIB, total=24 * GIB)
    (plan,) = plan_memory([LLAMA_8B], memory, 40_000)
    assert plan.num_blocks * 16 == 40_000


def test_a_cache_too_large_names_the_setting_and_what_fits() -> None:
    memory = free(23 * GIB, total=24 * GIB)
    with pytest.raises(ConfigError) as refused:
        plan_memory([LLAMA_8B], memory, 131_072)
    left = 23 * GIB - GIB - 16.06 * GB
    assert str(refused.value) == (
        "setting 'engine.kv_tokens' 131072 takes 17.2 GB beside 16.1 GB for llama-8b, and 24.7 GB "
        f"of memory are free: at most {int(left / 131_072) // 16 * 16} tokens fit"
    )
    plan_memory([LLAMA_8B], memory, int(left / 131_072) // 16 * 16)


def test_a_model_too_large_is_named_with_the_figures() -> None:
    for kv_tokens in (0, 4_096):
        with pytest.raises(ConfigError) as refused:
            plan_memory([LLAMA_8B], free(8 * GIB), kv_tokens)
        assert str(refused.value) == (
            "memory must hold 16.1 GB for llama-8b, and 8.6 GB of memory are free: "
            "serve a smaller model, or free some"
        )


def test_working_memory_counts() -> None:
    memory = free(16 * GIB)
    plan_memory([wanted(weights=GIB, working=GIB, positions=64)], memory, 0)
    with pytest.raises(ConfigError, match=r"16\.2 GB for m"):
        plan_memory([wanted(weights=GIB, working=14 * GIB + GIB // 10)], memory, 0)


def test_several_models_share_what_their_weights_leave() -> None:
    memory = free(24 * GIB)
    pair = [wanted("a", weights=4 * GB), wanted("b", weights=6 * GB)]
    first, second = plan_memory(pair, memory, 0)
    assert abs(first.kv_bytes - second.kv_bytes) <= 2 * 16 * 131_072
    assert 10 * GB + first.kv_bytes + second.kv_bytes <= 24 * GIB * 4 / 5 + 2 * 16 * 131_072
    with pytest.raises(ConfigError, match=r"10\.0 GB for a and b, and 10\.0 GB"):
        plan_memory(pair, free(10 * GB), 0)


def test_several_caches_that_were_asked_for_need_not_be_alike() -> None:
    pair = [wanted("a", per_token=1_000_000), wanted("b", per_token=1_000)]
    memory = free(16 * GB)
    first, second = plan_memory(pair, memory, 10_000)
    assert (first.kv_bytes, second.kv_bytes) == (10 * GB, 10_000_000)
    with pytest.raises(ConfigError, match=r"'engine\.kv_tokens' 16000 takes 16\.0 GB"):
        plan_memory(pair, memory, 16_000)


def test_a_system_that_does_not_tell_gets_the_wishes() -> None:
    (plan,) = plan_memory([LLAMA_8B], UNKNOWN, 0)
    assert plan.context_tokens == 131_072
    (asked,) = plan_memory([LLAMA_8B], UNKNOWN, 1 << 30)
    assert asked.context_tokens == 131_072


@pytest.mark.parametrize("kv_tokens", [1, 15])
def test_less_than_a_block_is_refused(kv_tokens: int) -> None:
    with pytest.raises(ConfigError, match=r"engine\.kv_tokens"):
        plan_memory([wanted()], free(64 * GIB), kv_tokens)


@given(
    available=st.integers(0, 200 * GB),
    more=st.integers(0, 50 * GB),
    weights=st.lists(st.integers(0, 30 * GB), min_size=1, max_size=3),
    per_token=st.integers(0, 1_000_000),
    positions=st.integers(1, 200_000),
    kv_tokens=st.integers(16, 200_000) | st.just(0),
)
def test_what_is_planned_fits_and_gives_a_context_or_is_refused(
    available: int, more: int, weights: list[int], per_token: int, positions: int, kv_tokens: int
) -> None:
    memory = free(available, total=available + more + 1)
    models = [wanted(weights=w, per_token=per_token, positions=positions) for w in weights]
    try:
        plans = plan_memory(models, memory, kv_tokens)
    except ConfigError:
        return
    assert sum(weights) + sum(plan.kv_bytes for plan in plans) <= available
    for plan in plans:
        least = kv_tokens or min(positions, 2_048)
        assert min(least, positions) <= plan.context_tokens <= positions
        assert plan.context_tokens <= plan.num_blocks * 16
