"""Which working sets are measured, on which machine."""

from headrace.bench.memory import MEGABYTE, measure, working_sets

ROOMY = 64 << 30


def test_sets_lie_inside_the_caches_they_are_named_after() -> None:
    caches = {"L1d": 48 << 10, "L2": 2 * MEGABYTE, "L3": 32 * MEGABYTE}
    sizes = {found.name: found.bytes for found in working_sets(caches, 2, ROOMY)}
    assert sizes["half of an L2 cache"] < caches["L2"]
    assert caches["L2"] < sizes["most of all L2 caches"] < 2 * caches["L2"]
    assert 2 * caches["L2"] < sizes["half of the L3 cache"] < caches["L3"]
    assert sizes["main memory"] > 2 * caches["L3"]
    assert list(sizes.values()) == sorted(sizes.values())


def test_main_memory_is_larger_than_the_largest_cache() -> None:
    found = working_sets({"L2": MEGABYTE, "L3": 1024 * MEGABYTE}, 8, ROOMY)
    assert found[-1].name == "main memory"
    assert found[-1].bytes > 2 * 1024 * MEGABYTE


def test_a_full_machine_is_not_filled_further() -> None:
    found = working_sets({"L2": MEGABYTE, "L3": 32 * MEGABYTE}, 2, 100 * MEGABYTE)
    assert found
    assert all(4 * one.bytes <= 100 * MEGABYTE for one in found)


def test_a_machine_that_tells_nothing_is_measured_all_the_same() -> None:
    names = [found.name for found in working_sets({}, 1, ROOMY)]
    assert names[0] == "half of an L2 cache"
    assert names[-1] == "main memory"
    assert "half of the L3 cache" not in names
    assert "most of all L2 caches" not in names


def test_measuring_gives_a_rate_for_one_thread_and_for_all() -> None:
    wanted = working_sets({}, 2, ROOMY)[0]
    speed = measure(wanted, 2, seconds=0.005)
    assert speed.bytes == wanted.bytes
    assert speed.one_thread_gb_s > 0
    assert speed.all_threads_gb_s > 0
