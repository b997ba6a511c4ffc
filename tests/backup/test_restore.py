"""What was taken from a home folder comes back in another, or not at all."""

import asyncio
import stat
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import asdict

from headrace.accounts import AccountService, Tier
from headrace.backup import Manifest, restore, take
from headrace.backup.archive import member_of, read_archive, write_archive
from headrace.clock import ManualClock
from headrace.config import Config
from headrace.errors import ConfigError
from headrace.metering import Metered
from headrace.store import SqliteStore, UsageRecord, ledger
from headrace.types import Usage
from tests.metering.world import DEVELOPER, World

PAID = 5_000_000


async def reserved(world: World, name: str) -> Metered:
    return await world.meter.reserve(DEVELOPER, "m", name, prompt_tokens=10, most_outputs=[50])


def used(world: World, *names: str) -> None:
    """Requests that ended, each with its own number of tokens, and stand in the books."""

    async def all_of_them() -> None:
        for tokens, name in enumerate(names, start=1):
            metered = await reserved(world, name)
            metered.start(10)
            metered.count(tokens)
            metered.settle(Usage(prompt_tokens=10, completion_tokens=tokens))
        await world.meter.flush()

    asyncio.run(all_of_them())


def begun(world: World, name: str, tokens: int) -> Metered:
    """A request that runs, and has got so far."""
    metered = asyncio.run(reserved(world, name))
    metered.start(10)
    metered.count(tokens)
    return metered


def opened(folder: Path) -> SqliteStore:
    return SqliteStore(folder / "headrace.db", ManualClock())


def books_of(home: Path) -> tuple[list[UsageRecord], int, int]:
    """Usage records, balance, and what leases hold."""
    with closing(opened(home)) as store, store.reading() as tx:
        records = ledger.usage_of(tx, "org", 0, 1e12)
        return records, ledger.balance(tx, "org"), ledger.held(tx, "org")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A backup of a home with three records, one request that runs, and a key."""
    home = tmp_path / "home"
    with AccountService.open(Config(home=home)) as accounts:
        accounts.create(name="k", tier=Tier.FREE)
    with World(home) as world:
        world.pay(PAID)
        used(world, "a", "b", "c")
        running = begun(world, "d", 7)
        take(home, tmp_path / "b.tar", ManualClock())
        running.release()
    return tmp_path / "b.tar"


def test_the_books_come_back_with_what_ran_and_nothing_set_aside(
    archive: Path, tmp_path: Path
) -> None:
    found = restore(archive, tmp_path / "new", ManualClock())
    records, balance, held = books_of(tmp_path / "new")
    assert [(r.request_id, r.completion_tokens, r.status) for r in records] == [
        ("a", 1, "completed"),
        ("b", 2, "completed"),
        ("c", 3, "completed"),
        ("d", 7, "interrupted"),
    ]
    assert balance == PAID - sum(record.micros for record in records)
    assert held == 0
    assert (found.recovered, found.usage_records, found.ledger_entries) == (1, 4, 5)


def test_what_ended_before_is_the_same_to_the_last_column(archive: Path, tmp_path: Path) -> None:
    restore(archive, tmp_path / "new", ManualClock())
    before, _, _ = books_of(tmp_path / "home")
    after, _, _ = books_of(tmp_path / "new")
    assert [asdict(each) for each in after[:3]] == [asdict(each) for each in before[:3]]


def test_a_key_opens_the_restored_home(tmp_path: Path) -> None:
    with AccountService.open(Config(home=tmp_path / "home")) as accounts:
        made = accounts.create(name="k", tier=Tier.DEVELOPER)
        take(tmp_path / "home", tmp_path / "b.tar", ManualClock())
    restore(tmp_path / "b.tar", tmp_path / "new", ManualClock())
    with AccountService.open(Config(home=tmp_path / "new")) as accounts:
        assert accounts.authenticate(made.secret).key_id == made.key.id


def test_a_request_that_ends_while_slots_are_copied_is_written_once(tmp_path: Path) -> None:
    """Its slot is in the backup, and its record too: the record is the one that counts."""
    home = tmp_path / "home"
    with World(home) as world:
        world.pay(PAID)
        running = begun(world, "a", 5)
        take(home, tmp_path / "early.tar", ManualClock())
        running.settle(Usage(prompt_tokens=10, completion_tokens=9))
        asyncio.run(world.meter.flush())
        take(home, tmp_path / "late.tar", ManualClock())
    early, late, both = (tmp_path / name for name in ("early", "late", "both"))
    for folder, name in ((early, "early.tar"), (late, "late.tar")):
        folder.mkdir()
        manifest = read_archive(tmp_path / name, folder)
    both.mkdir()
    (both / "metering").mkdir()
    (early / "metering" / "slots-0").rename(both / "metering" / "slots-0")
    (late / "headrace.db").rename(both / "headrace.db")
    rewrite(tmp_path / "both.tar", manifest, both)
    restore(tmp_path / "both.tar", tmp_path / "new", ManualClock())
    records, balance, _ = books_of(tmp_path / "new")
    assert [(r.completion_tokens, r.status) for r in records] == [(9, "completed")]
    assert balance == PAID - records[0].micros


def test_files_are_their_owners_alone(archive: Path, tmp_path: Path) -> None:
    restore(archive, tmp_path / "new", ManualClock())
    files = [archive, *(tmp_path / "new").iterdir()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert sorted(file.name for file in files) == ["b.tar", "headrace.db", "key-pepper"]


def test_a_backup_replaces_no_file(archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(ConfigError, match="replaces nothing"):
        take(tmp_path / "home", archive, ManualClock())
    assert archive.read_bytes() == before


def test_a_home_without_a_database_is_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to back up"):
        take(tmp_path, tmp_path / "b.tar", ManualClock())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["headrace.db", "key-pepper"])
def test_a_home_with_state_keeps_it(archive: Path, tmp_path: Path, name: str) -> None:
    home = tmp_path / "new"
    home.mkdir()
    (home / name).write_bytes(b"mine")
    with pytest.raises(ConfigError, match=f"has a '{name}' already"):
        restore(archive, home, ManualClock())
    assert [(file.name, file.read_bytes()) for file in home.iterdir()] == [(name, b"mine")]


def test_a_home_with_a_server_is_refused(archive: Path, tmp_path: Path) -> None:
    with World(tmp_path / "new"), pytest.raises(ConfigError, match="a server runs on"):
        restore(archive, tmp_path / "new", ManualClock())


def rewrite(path: Path, manifest: Manifest, folder: Path) -> None:
    """An archive of what lies in a folder now, its manifest true to it."""
    names = [str(f.relative_to(folder)) for f in sorted(folder.rglob("*")) if f.is_file()]
    members = {name: member_of(folder / name) for name in names}
    write_archive(path, msgspec.structs.replace(manifest, members=members), folder)


def forge_a_record(folder: Path) -> None:
    """One more micro-dollar in a record, by somebody who knows SQL."""
    with closing(opened(folder)) as store, store.changing() as tx:
        tx.execute("DROP TRIGGER usage_records_is_never_updated")
        tx.execute("UPDATE usage_records SET micros = micros + 1 WHERE request_id = 'b'")


def take_an_entry_away(folder: Path) -> None:
    with closing(opened(folder)) as store, store.changing() as tx:
        tx.execute("DROP TRIGGER ledger_is_never_deleted")
        tx.execute("DELETE FROM ledger WHERE reference = 'c'")


def move_a_record(folder: Path) -> None:
    """The amounts agree, request by request; the organisations' sums do not."""
    with closing(opened(folder)) as store, store.changing() as tx:
        tx.execute("DROP TRIGGER usage_records_is_never_updated")
        tx.execute("UPDATE usage_records SET organisation_id = 'o' WHERE request_id = 'a'")


def break_a_page(folder: Path) -> None:
    database = folder / "headrace.db"
    content = bytearray(database.read_bytes())
    content[5 * 4096 : 6 * 4096] = b"\xff" * 4096
    database.write_bytes(content)


def orphan_a_key(folder: Path) -> None:
    with closing(opened(folder)) as store, store.reading() as tx:
        tx.execute("PRAGMA foreign_keys = OFF")
        tx.execute("DELETE FROM projects")


def spoil_a_slot(folder: Path) -> None:
    slots = folder / "metering" / "slots-0"
    content = slots.read_bytes()
    at = content.index(b"request_id")
    slots.write_bytes(content[: at - 2] + b"\xc1" * 12 + content[at + 10 :])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (forge_a_record, "do not agree: b"),
        (take_an_entry_away, "do not agree: c"),
        (move_a_record, "do not agree: org"),
        (break_a_page, "damaged"),
        (orphan_a_key, "a row of api_keys refers to no row of projects"),
        (spoil_a_slot, "a request that ran"),
        (lambda folder: (folder / "headrace.db").unlink(), "'headrace.db' is missing"),
    ],
)
def test_a_backup_whose_inside_was_changed_is_not_restored(
    archive: Path, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    manifest = read_archive(archive, folder)
    harm(folder)
    rewrite(tmp_path / "harmed.tar", manifest, folder)
    with pytest.raises(ConfigError, match=said):
        restore(tmp_path / "harmed.tar", tmp_path / "new", ManualClock())
    assert not list((tmp_path / "new").iterdir())


def test_a_byte_that_was_changed_on_the_way_is_noticed(archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    with tarfile.open(archive) as tar:
        places = [(member.offset_data, member.size) for member in tar]
    for start, size in places:
        at = start + size // 2
        harmed = tmp_path / f"harmed-{at}.tar"
        harmed.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(ConfigError, match="damaged"):
            restore(harmed, tmp_path / "new", ManualClock())


def test_half_a_backup_is_not_restored(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    for part in (0, 100, 600, len(content) // 2):
        (tmp_path / f"{part}.tar").write_bytes(content[:part])
        with pytest.raises(ConfigError):
            restore(tmp_path / f"{part}.tar", tmp_path / "new", ManualClock())


@pytest.mark.parametrize("name", ["../out", "/out", "metering/../../out", "other"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "out").write_bytes(b"x")
    manifest = Manifest(
        headrace="1", taken_unix=0, schema_version=1, members={name: member_of(tmp_path / "out")}
    )
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(manifest))
        tar.add(tmp_path / "manifest.json", "manifest.json")
        entry = tar.gettarinfo(tmp_path / "out")
        entry.name = name
        with (tmp_path / "out").open("rb") as content:
            tar.addfile(entry, content)
    with pytest.raises(ConfigError, match="not of the kind we write"):
        read_archive(tmp_path / "b.tar", tmp_path / "content")
    assert not list((tmp_path / "content").iterdir())


def test_a_backup_of_a_newer_format_says_so(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    manifest = msgspec.structs.replace(read_archive(archive, folder), format=2)
    rewrite(tmp_path / "newer.tar", manifest, folder)
    with pytest.raises(ConfigError, match="format 2, this Headrace knows 1"):
        restore(tmp_path / "newer.tar", tmp_path / "new", ManualClock())
