"""The process of an engine, started: it imports what it needs, and waits to be told its model."""

import socket
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that waits for `Start` at the other end of `sock`, and ends when that closes."""

    process: "subprocess.Popen[bytes]"
    sock: socket.socket


def launch() -> Launched:
    """Start one; returns at once. Raises OSError when the system cannot."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603 (our own program)
                [sys.executable, "-P", "-m", "headrace.engine.process", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # ours belongs to the command that runs
            )
        except OSError:
            ours.close()
            raise
    return Launched(process, ours)
