"""The engine as a process of its own: `python -m headrace.engine.process FD`, started by the front.

FD is this end of a socket pair. The front says `Start`, this loads the model and says `Started`, or
`Refused` with the reason. It ends when the front closes the socket, however the front went: signals
for the whole group (Ctrl-C, a service manager's SIGTERM) are the front's to handle.
"""

import logging
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from headrace.backends.cpu.library import require_native
from headrace.clock import SystemClock
from headrace.engine.build import build_backend, build_engine
from headrace.engine.loop import RECEIVE_BYTES, EngineLoop
from headrace.engine.messages import Loading, Refused, Start, Started
from headrace.engine.wire import FrameReader, frame
from headrace.errors import HeadraceError, KernelMissing
from headrace.model.network import open_network
from headrace.model.registry import builders
from headrace.telemetry.logs import Event, set_up_logging

log = logging.getLogger("headrace.engine")

LOADING_STEPS = 200  # messages about loading, at most


def main() -> None:
    """Load what the front names, and run it until the front is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sock = socket.socket(fileno=int(sys.argv[1]))
    _import_ahead()
    start = _hear_start(sock)
    if start is None:
        return
    set_up_logging(start.log.level, start.log.format, sys.stderr)
    try:
        _serve(start, sock)
    except Exception:
        log.exception(Event("engine_broke"))
        sys.exit(1)


def _import_ahead() -> None:
    """Load what nearly every model needs, while the front finds out what it wants."""
    builders()
    with suppress(KernelMissing):  # whoever asks for that backend will be told
        require_native()


def _hear_start(sock: socket.socket) -> Start | None:
    reader = FrameReader(Start)
    while data := sock.recv(RECEIVE_BYTES):
        for messages in reader.feed(data):
            return messages[0]
    return None


def _serve(start: Start, sock: socket.socket) -> None:
    clock = SystemClock()
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if done * LOADING_STEPS >= told * total:
            told += 1
            sock.sendall(frame([Loading(done=done, total=total)]))

    try:
        context, dtype = start.config.context_tokens or None, start.config.dtype
        network = open_network(Path(start.model), dtype=dtype, context=context)
        backend = build_backend(
            network.program,
            network.weights,
            start.config,
            home=Path(start.home) if start.home else None,
            progress=progress,
        )
        log.info(Event("model_loaded", model=start.model, loaded_from=backend.report().loaded_from))
    except HeadraceError as exc:
        sock.sendall(frame([Refused(error=type(exc).__name__, message=str(exc))]))
        return
    except ConnectionError:
        return  # the front went while we loaded
    del network
    try:
        engine = build_engine(backend, start.config, clock, model=Path(start.model))
        started = Started(backend=backend.report().name, context_tokens=engine.context_tokens)
        sock.sendall(frame([started]))
        EngineLoop(engine, sock, clock).run()
    finally:
        backend.close()


if __name__ == "__main__":
    main()
