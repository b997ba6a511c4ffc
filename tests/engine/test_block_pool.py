import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.block_pool import BlockPool, blocks_for
from headrace.errors import EngineError


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (16, 1), (17, 2), (32, 2)])
def test_blocks_for_rounds_up(tokens: int, blocks: int) -> None:
    assert blocks_for(tokens, 16) == blocks


def test_growing_is_all_or_nothing() -> None:
    pool = BlockPool(3, 16)
    held: list[int] = []
    assert pool.grow(held, 33)
    other: list[int] = []
    assert not pool.grow(other, 1)
    assert other == []
    pool.check_integrity([held])


def test_a_lost_block_is_noticed() -> None:
    pool = BlockPool(3, 16)
    held: list[int] = []
    pool.grow(held, 20)
    held.pop()
    with pytest.raises(EngineError, match="lost or doubled"):
        pool.check_integrity([held])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 90))))
def test_every_block_is_somewhere_exactly_once(moves: list[tuple[int, int]]) -> None:
    pool = BlockPool(10, 16)
    held: list[list[int]] = [[] for _ in range(5)]
    for who, tokens in moves:
        if tokens == 0:
            pool.release(held[who])
        elif pool.grow(held[who], tokens):
            assert len(held[who]) * 16 >= tokens
        pool.check_integrity(held)
