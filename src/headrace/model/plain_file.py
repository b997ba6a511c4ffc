"""Files of a model folder as a stranger left them: looked at before anything waits for them."""

import reprlib
import stat
from pathlib import Path

from headrace.errors import CheckpointError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 160  # the longest tensor name is about 100


def size_of(path: Path) -> int:
    """Bytes of the file at `path`, links followed.

    Raises CheckpointError naming it when it is missing, or no file: a pipe or a device would be
    read for ever.
    """
    try:
        status = path.stat()
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} is missing") from exc
    except (OSError, ValueError) as exc:  # ValueError: a name with a zero byte
        raise CheckpointError(f"{path} cannot be read: {exc}") from exc
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is not a file but a folder, pipe or device")
    return status.st_size


def shown(value: object) -> str:
    """`value` from a file, spelled as Python does, fit for a sentence: long ones are cut."""
    return _SHORT.repr(value)
