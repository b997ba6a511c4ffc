"""The file of a backup: a plain tar whose first member says what the others are.

It is ours to write and anybody's to have touched: what is read is held to the manifest, byte by
byte, and nothing is taken out under a name that we did not give.
"""

import hashlib
import io
import os
import secrets
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import msgspec

from headrace.errors import ConfigError

DATABASE = "headrace.db"
PEPPER = "key-pepper"
SLOTS = "metering"  # the folder of slot files

_FORMAT = 1
_MANIFEST = "manifest.json"
_MANIFEST_BYTES = 1 << 20  # far more than any of ours
_OURS = frozenset((DATABASE, PEPPER, *(f"{SLOTS}/slots-{number}" for number in range(100))))
_PIECE_BYTES = 1 << 20


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the home folder."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup is of."""

    format: int = _FORMAT
    headrace: str  # the version that took it
    taken_unix: int
    schema_version: int
    members: Mapping[str, Member]  # by path in the home folder


def write_archive(path: Path, manifest: Manifest, folder: Path) -> int:
    """Write the members, which lie in `folder`, to a new file that its owner alone can read.

    The file appears whole or not at all; its size in bytes. Raises ConfigError when it is there
    already or cannot be written.
    """
    if path.exists():
        raise ConfigError(f"{path} is there already: a backup replaces nothing")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    said = msgspec.json.format(msgspec.json.encode(manifest))
                    tar.addfile(_header(_MANIFEST, len(said), manifest), io.BytesIO(said))
                    for name, member in manifest.members.items():
                        with (folder / name).open("rb") as content:
                            tar.addfile(_header(name, member.bytes, manifest), content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
        return path.stat().st_size
    except OSError as exc:
        raise ConfigError(f"backup {path} cannot be written: {exc}") from exc


def read_archive(path: Path, folder: Path) -> Manifest:
    """Check a backup and lay its members out in `folder`.

    Raises ConfigError when it is none, damaged, or of a newer format.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            manifest = _manifest(tar.next(), tar, path)
            found: set[str] = set()
            while (entry := tar.next()) is not None:
                _unpack(entry, tar, manifest, folder, path)
                found.add(entry.name)
    except (OSError, tarfile.TarError, EOFError) as exc:
        raise ConfigError(f"backup {path} cannot be read: {exc}") from exc
    lacking = [name for name in manifest.members if name not in found]
    if lacking:
        raise ConfigError(f"backup {path} is damaged: '{lacking[0]}' is missing")
    return manifest


def is_ours(name: str) -> bool:
    """Whether a path in a home folder is one that backups hold."""
    return name in _OURS


def member_of(path: Path) -> Member:
    """How a file is listed."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Member(bytes=file.tell(), sha256=digest)


def sync_folder(path: Path) -> None:
    """See to it that the names in a folder outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _header(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = 0o600
    header.mtime = manifest.taken_unix
    return header


def _manifest(entry: tarfile.TarInfo | None, tar: tarfile.TarFile, path: Path) -> Manifest:
    content = None if entry is None or entry.name != _MANIFEST else tar.extractfile(entry)
    if entry is None or content is None or entry.size > _MANIFEST_BYTES:
        raise ConfigError(f"{path} is no backup of Headrace")
    said = content.read()
    try:
        form = msgspec.json.decode(said, type=_Form).format
        if form > _FORMAT:
            raise ConfigError(
                f"backup {path} is of format {form}, this Headrace knows {_FORMAT}: "
                "restore it with the newer one"
            )
        return msgspec.json.decode(said, type=Manifest)
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"backup {path} is damaged: its manifest: {exc}") from exc


class _Form(msgspec.Struct):
    format: int


def _unpack(
    entry: tarfile.TarInfo, tar: tarfile.TarFile, manifest: Manifest, folder: Path, path: Path
) -> None:
    member = manifest.members.get(entry.name)
    content = tar.extractfile(entry) if entry.isreg() else None
    if member is None or content is None or not is_ours(entry.name):
        raise ConfigError(f"backup {path} is damaged: '{entry.name}' is not of the kind we write")
    target = folder / entry.name
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with target.open("xb") as file:
        target.chmod(0o600)
        digest = _copy(content, file)
        os.fsync(file.fileno())
    if (entry.size, digest) != (member.bytes, member.sha256):
        raise ConfigError(f"backup {path} is damaged: '{entry.name}' is not what was written")


def _copy(content: IO[bytes], file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := content.read(_PIECE_BYTES):
        digest.update(piece)
        file.write(piece)
    file.flush()
    return digest.hexdigest()
