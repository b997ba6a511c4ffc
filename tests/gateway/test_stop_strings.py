import itertools

from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.stop_strings import StopStrings


def feed(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    matcher = StopStrings(stops)
    out = ""
    for piece in pieces:
        out += matcher.push(piece)
        if matcher.has_matched:
            return out, True
    return out + matcher.flush(), False


def test_a_stop_string_across_pieces_ends_the_text_before_it() -> None:
    assert feed(["END"], ["the E", "N", "D of it"]) == ("the ", True)


def test_what_only_began_like_one_is_delivered() -> None:
    assert feed(["END"], ["the E", "N", "ough"]) == ("the ENough", False)
    assert feed(["END"], ["an EN"]) == ("an EN", False)


def test_text_is_held_back_no_longer_than_needed() -> None:
    matcher = StopStrings(["ab"])
    assert [matcher.push(p) for p in ("x", "a", "a", "c")] == ["x", "", "a", "ac"]


def test_the_first_to_begin_wins() -> None:
    assert feed(["bc", "abx"], ["aabxbc"]) == ("a", True)


@given(
    text=st.text("abc", max_size=40),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 40)),
)
def test_pieces_never_deliver_a_stop_string_nor_lose_a_character(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    bounds = sorted({0, len(text), *(c for c in cuts if c <= len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(bounds)]
    out, matched = feed(stops, pieces)
    assert matched == any(stop in text for stop in stops)
    assert text.startswith(out)
    if not matched:
        assert out == text
    else:
        assert any(text[len(out) :].startswith(stop) for stop in stops)
        assert not any(stop in out for stop in stops)
