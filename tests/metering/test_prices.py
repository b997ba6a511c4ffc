"""Amounts against exact fractions."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import PRICES, PriceConfig
from headrace.errors import ConfigError
from headrace.metering import FREE, Price, PriceList
from headrace.types import Usage

RATES = st.integers(0, 100_000_000)
TOKENS = st.integers(0, 10_000_000)


@given(RATES, RATES, RATES, TOKENS, TOKENS, TOKENS)
def test_an_amount_is_rounded_once_and_half_up(
    fresh: int, cached: int, output: int, prompt: int, in_cache: int, completion: int
) -> None:
    price = Price(version="v", input_micros=fresh, cached_micros=cached, output_micros=output)
    used = Usage(
        prompt_tokens=prompt + in_cache, completion_tokens=completion, cached_tokens=in_cache
    )
    exact = Fraction(prompt * fresh + in_cache * cached + completion * output, 1_000_000)
    rounded = Decimal(exact.numerator) / Decimal(exact.denominator)
    assert price.amount(used) == int(rounded.quantize(Decimal(1), ROUND_HALF_UP))
    assert price.amount(used) <= price.most(used.prompt_tokens, completion)


@given(RATES, RATES, st.integers(0, 10**12), TOKENS)
def test_what_is_affordable_is_the_most_that_is(
    fresh: int, output: int, micros: int, prompt: int
) -> None:
    price = Price(version="v", input_micros=fresh, cached_micros=0, output_micros=output)
    tokens = price.affordable(micros, prompt)
    if tokens < 0:
        assert price.most(prompt, 0) > micros
    else:
        assert price.most(prompt, tokens) <= micros
        if output:
            assert price.most(prompt, tokens + 1) > micros


def test_prices_have_a_first_day_and_models_without_one_are_free() -> None:
    prices = PriceList(
        [
            PriceConfig(model="m", input_micros=3, since="2026-02-01"),
            PriceConfig(model="m", input_micros=1),
            PriceConfig(model="m", input_micros=2, output_micros=9, since="2026-01-01"),
        ]
    )
    january, february = 1_767_225_600, 1_769_904_000
    assert prices.at("m", january - 1).input_micros == 1
    assert prices.at("m", january) == Price(
        version="m@2026-01-01",
        input_micros=2,
        cached_micros=2,
        output_micros=9,
        since_unix=january,
    )
    assert prices.at("m", february).version == "m@2026-02-01"
    assert prices.at("other", february) is FREE


def test_two_prices_of_one_day_are_refused() -> None:
    with pytest.raises(ConfigError, match="two prices of 'm' begin on the first day"):
        PriceList([PriceConfig(model="m", input_micros=1), PriceConfig(model="m", input_micros=2)])


def test_the_default_prices_are_those_published() -> None:
    prices = PriceList(PRICES)
    million = Usage(prompt_tokens=600_000, completion_tokens=400_000)
    assert prices.at("llama3.1-8b", 0).amount(million) == 100_000  # ten cents
    assert prices.at("llama3.1-70b", 0).amount(million) == 600_000
