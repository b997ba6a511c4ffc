"""Times in buckets: percentiles near the exact ones, sums that do not depend on the order."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from headrace.telemetry.service_hour import STEP, ServiceHour, Spread

SECONDS = st.floats(min_value=1e-5, max_value=600)


def spread_of(times: list[float]) -> Spread:
    spread = Spread()
    for each in times:
        spread.add(each)
    return spread


@given(times=st.lists(SECONDS, min_size=1, max_size=60), percent=st.sampled_from([1, 50, 90, 99]))
def test_a_percentile_is_within_a_bucket_of_the_exact_one(times: list[float], percent: int) -> None:
    exact = sorted(times)[max(1, math.ceil(percent / 100 * len(times))) - 1]
    found = spread_of(times).quantile(percent / 100)
    assert found is not None
    assert exact / math.sqrt(STEP) * 0.999 <= found <= exact * math.sqrt(STEP) * 1.001


@given(times=st.lists(SECONDS, max_size=40), cut=st.integers(0, 40))
def test_parts_join_to_the_whole(times: list[float], cut: int) -> None:
    joined = spread_of(times[:cut])
    joined.join(spread_of(times[cut:]))
    assert joined.counts == spread_of(times).counts


def test_nothing_has_no_percentile() -> None:
    assert Spread().quantile(0.5) is None


@given(times=st.lists(SECONDS, max_size=20), answered=st.integers(0, 9))
def test_an_hour_comes_back_as_it_was_kept(times: list[float], answered: int) -> None:
    hour = ServiceHour(answered=answered, up_s=1.5, first_token=spread_of(times))
    kept = json.loads(json.dumps(hour.as_json()))
    assert ServiceHour.of_json(kept).as_json() == hour.as_json()
    assert ServiceHour.of_json({}).as_json() == ServiceHour().as_json()
