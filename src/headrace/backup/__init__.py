"""The state of a home folder in one file: taken while a server runs, put back where none does."""

from headrace.backup.archive import Manifest
from headrace.backup.restore import Restored, restore
from headrace.backup.take import Taken, take

__all__ = ["Manifest", "Restored", "Taken", "restore", "take"]
