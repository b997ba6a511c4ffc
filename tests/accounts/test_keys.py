import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.accounts import digest_of, generate_key, is_well_formed


@given(st.binary(min_size=32, max_size=32))
def test_generated_key_has_the_prefix_and_is_well_formed(secret: bytes):
    key = generate_key(lambda n: secret)
    assert key.startswith("hr-")
    assert len(key) == 52
    assert is_well_formed(key)


def test_keys_of_different_secrets_differ():
    assert generate_key(lambda n: bytes(n)) != generate_key(lambda n: bytes(n - 1) + b"\x01")


@given(st.integers(min_value=3, max_value=51), st.sampled_from("0aZ"))
def test_a_mistyped_character_is_noticed(place: int, char: str):
    key = generate_key(lambda n: b"\x5a" * n)
    if key[place] == char:
        return
    assert not is_well_formed(key[:place] + char + key[place + 1 :])


@pytest.mark.parametrize("text", ["", "hr-", "sk-123", "hr-" + "é" * 49, "hr-" + "A" * 49 + "\n"])
def test_rubbish_is_not_well_formed(text: str):
    assert not is_well_formed(text)


def test_digest_is_hmac_sha256_under_the_pepper():
    expected = hmac.new(b"pepper", b"hr-key", hashlib.sha256).digest()
    assert digest_of("hr-key", b"pepper") == expected
    assert digest_of("hr-key", b"other") != expected
