import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.accounts import AccountService, Tier, generate_key
from headrace.clock import ManualClock
from headrace.config import Config
from headrace.errors import InvalidRequest, MissingKey, Unauthenticated
from headrace.store import SqliteStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def service(tmp_path: Path, clock: ManualClock) -> Iterator[AccountService]:
    counter = itertools.count(1)
    store = SqliteStore(tmp_path / "headrace.db", clock)
    with AccountService(
        store, b"p" * 32, clock, lambda n: next(counter).to_bytes(n, "big")
    ) as made:
        yield made


def test_a_new_key_authenticates_as_its_account(service: AccountService):
    new = service.create(name="laptop", tier=Tier.DEVELOPER)
    account = service.authenticate(new.secret)
    assert (account.key_id, account.name, account.tier) == (new.key.id, "laptop", Tier.DEVELOPER)


def test_the_secret_is_nowhere_in_the_home_folder(service: AccountService, tmp_path: Path):
    new = service.create(name="laptop", tier=Tier.FREE)
    secret = new.secret.encode()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret not in stored
    assert secret[3:30] not in stored
    assert new.key.id.encode() in stored


def test_listed_keys_show_name_and_last_four_only(service: AccountService):
    new = service.create(name="laptop", tier=Tier.FREE)
    (key,) = service.list()
    assert key == new.key
    assert key.last4 == new.secret[-4:]
    assert new.secret.startswith(key.prefix)
    assert new.secret not in repr(key)


@pytest.mark.parametrize("secret", [None, ""])
def test_no_key_is_missing(service: AccountService, secret: str | None):
    with pytest.raises(MissingKey):
        service.authenticate(secret)


@pytest.mark.parametrize(
    "secret",
    ["hr-rubbish", "' OR 1=1 --", "hr-" + "0" * 49, "\udcff", "x" * 100_000],
)
def test_rubbish_is_refused(service: AccountService, secret: str):
    with pytest.raises(Unauthenticated, match="Incorrect API key provided"):
        service.authenticate(secret)


def test_a_well_formed_key_of_somebody_else_is_refused(service: AccountService):
    with pytest.raises(Unauthenticated):
        service.authenticate(generate_key(lambda n: b"\xff" * n))


def test_a_revoked_key_is_refused_at_once_by_a_second_service(tmp_path: Path):
    config = Config(home=tmp_path / "home")
    with AccountService.open(config) as server, AccountService.open(config) as command:
        new = command.create(name="laptop", tier=Tier.FREE)
        assert server.authenticate(new.secret).name == "laptop"
        assert command.revoke("laptop").revoked_unix is not None
        with pytest.raises(Unauthenticated):
            server.authenticate(new.secret)


def test_two_active_keys_cannot_share_a_name(service: AccountService):
    service.create(name="laptop", tier=Tier.FREE)
    with pytest.raises(InvalidRequest, match="named 'laptop' exists already"):
        service.create(name=" laptop ", tier=Tier.FREE)


def test_a_revoked_key_gives_its_name_free(service: AccountService):
    first = service.create(name="laptop", tier=Tier.FREE)
    service.revoke(first.key.id)
    second = service.create(name="laptop", tier=Tier.ENTERPRISE)
    assert service.authenticate(second.secret).tier is Tier.ENTERPRISE


def test_rotation_keeps_name_and_tier_and_ends_the_old_key(service: AccountService):
    old = service.create(name="laptop", tier=Tier.DEVELOPER)
    new = service.rotate("laptop")
    assert (new.key.name, new.key.tier) == ("laptop", Tier.DEVELOPER)
    assert service.authenticate(new.secret).key_id == new.key.id
    with pytest.raises(Unauthenticated):
        service.authenticate(old.secret)


@pytest.mark.parametrize("verb", ["revoke", "rotate"])
def test_an_unknown_key_cannot_be_ended(service: AccountService, verb: str):
    with pytest.raises(InvalidRequest, match="no active key has the id or name 'nobody'"):
        getattr(service, verb)("nobody")


def test_a_key_is_revoked_once(service: AccountService):
    service.create(name="laptop", tier=Tier.FREE)
    service.revoke("laptop")
    with pytest.raises(InvalidRequest):
        service.revoke("laptop")


@pytest.mark.parametrize("name", ["", "  ", "a" * 65, "a\nb", "a\x1b[31mb", "a\u202eb", "a\x00"])
def test_odd_names_are_refused(service: AccountService, name: str):
    with pytest.raises(InvalidRequest, match="name"):
        service.create(name=name, tier=Tier.FREE)


@pytest.mark.parametrize("name", ["'; DROP TABLE api_keys; --", '"', "Zoë's laptop", "<b>x</b>"])
def test_quotes_and_markup_in_names_are_only_text(service: AccountService, name: str):
    service.create(name=name, tier=Tier.FREE)
    assert service.list()[0].name == name
    assert service.revoke(name).name == name


def test_last_use_is_noted_to_the_minute(tmp_path: Path, clock: ManualClock):
    path = tmp_path / "headrace.db"
    service = AccountService(SqliteStore(path, clock), b"p" * 32, clock)
    secret = service.create(name="laptop", tier=Tier.FREE).secret
    clock.advance(125)
    service.authenticate(secret)
    service.close()  # waits for the note
    with AccountService(SqliteStore(path, clock), b"p" * 32, clock) as again:
        assert again.list()[0].last_used_unix == int(clock.unix_s()) // 60 * 60
