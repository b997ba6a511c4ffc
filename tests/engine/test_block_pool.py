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


def test_a_named_block_outlives_its_holder_until_its_place_is_needed() -> None:
    pool = BlockPool(2, 16)
    held: list[int] = []
    pool.grow(held, 32)
    first, second = held
    pool.name(first, b"first")
    pool.release(held)
    assert pool.num_free == 2
    assert pool.find(b"first") == first
    again: list[int] = []
    pool.share(again, [first])
    pool.grow(again, 32)
    assert again == [first, second]
    pool.release(again)
    pool.grow(again, 32)
    assert pool.find(b"first") is None
    pool.check_integrity([again])


def test_a_shared_block_stays_until_its_last_holder_lets_go() -> None:
    pool = BlockPool(1, 16)
    one: list[int] = []
    two: list[int] = []
    pool.grow(one, 16)
    pool.name(one[0], b"x")
    pool.share(two, one)
    pool.check_integrity([one, two])
    pool.release(one)
    assert not pool.grow([], 16)
    pool.release(two)
    assert pool.grow(two, 16)


def test_the_first_block_of_a_name_keeps_it() -> None:
    pool = BlockPool(2, 16)
    held: list[int] = []
    pool.grow(held, 32)
    pool.name(held[0], b"x")
    pool.name(held[1], b"x")
    assert pool.find(b"x") == held[0]
    pool.check_integrity([held])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 90), st.integers(0, 8))))
def test_every_block_is_somewhere_exactly_once(moves: list[tuple[int, int, int]]) -> None:
    pool = BlockPool(10, 16)
    held: list[list[int]] = [[] for _ in range(5)]
    for who, tokens, name in moves:
        known = pool.find(bytes([name]))
        if tokens == 0:
            pool.release(held[who])
        elif not held[who] and known is not None:
            pool.share(held[who], [known])
        elif pool.grow(held[who], tokens):
            assert len(held[who]) * 16 >= tokens
            if held[who]:
                pool.name(held[who][-1], bytes([name]))
        pool.check_integrity(held)
