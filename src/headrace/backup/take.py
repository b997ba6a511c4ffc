"""Taking a backup, beside servers that run."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from headrace import __version__
from headrace.backup.archive import (
    DATABASE,
    PEPPER,
    SLOTS,
    Manifest,
    Member,
    is_ours,
    member_of,
    write_archive,
)
from headrace.clock import Clock
from headrace.errors import ConfigError
from headrace.metering import copy_of
from headrace.store import copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A backup that was taken."""

    file: str
    bytes: int
    schema_version: int
    members: int


def take(home: Path, path: Path, clock: Clock) -> Taken:
    """Write the state of `home` to the new file `path`; whoever runs on it goes on.

    The order is what makes it agree. Slots come first: what ends while they are copied is in the
    database by then, and recovery writes nothing twice. The pepper comes last: it is there before
    the first key is. Takes twice the database's size beside `path` for a while. Raises ConfigError
    when there is nothing to back up, or something cannot be read or written.
    """
    if not (home / DATABASE).exists():
        raise ConfigError(f"{home} has no {DATABASE}: there is nothing to back up")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".headrace-backup-") as made:
            folder = Path(made)
            (folder / SLOTS).mkdir()
            for slots in sorted((home / SLOTS).glob("slots-*")):
                if is_ours(f"{SLOTS}/{slots.name}"):
                    (folder / SLOTS / slots.name).write_bytes(copy_of(slots))
            version = copies.copy_database(home / DATABASE, folder / DATABASE)
            broken = copies.faults(folder / DATABASE)
            if broken:
                raise ConfigError(f"database {home / DATABASE} is damaged: {broken[0]}")
            if (home / PEPPER).exists():
                shutil.copyfile(home / PEPPER, folder / PEPPER)
            members = _members(folder)
            manifest = Manifest(
                headrace=__version__,
                taken_unix=int(clock.unix_s()),
                schema_version=version,
                members=members,
            )
            size = write_archive(path, manifest, folder)
    except OSError as exc:
        raise ConfigError(f"backup {path} cannot be written: {exc}") from exc
    return Taken(file=str(path), bytes=size, schema_version=version, members=len(members))


def _members(folder: Path) -> dict[str, Member]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): member_of(file) for file in files}
