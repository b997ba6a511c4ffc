"""The server's life: bind, serve, drain, stop."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Generator

import uvicorn

from headrace.api.app import App
from headrace.api.protocol import BoundedHttpProtocol

KEEP_ALIVE_TIMEOUT_S = 65  # an idle connection; above the usual 60 s of proxies
BACKLOG = 2048
FAREWELL_S = 5  # for the last events to leave, once streams were told to end
_GLANCE_S = 0.1  # between looks for a second signal

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

OnReload = Callable[[], Awaitable[None]]


class HttpServer:
    """Serves one application on one socket."""

    def __init__(
        self,
        app: App,
        *,
        drain_s: float,
        on_ready: Callable[[], None],
        on_limit: Callable[[], Awaitable[None]],
        on_reload: OnReload | None = None,
    ) -> None:
        """`on_ready` is called when connections are accepted, `on_reload` at SIGHUP.

        `on_limit` is called when `drain_s` has passed and streams still run: it must make them
        end, with an error event of their own.
        """
        config = uvicorn.Config(
            app,
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
            timeout_graceful_shutdown=FAREWELL_S,
        )
        self._app = app
        self._server = _Server(config, on_ready, self.stop, drain_s, on_limit, on_reload)

    async def run(self, sock: socket.socket) -> None:
        """Serve until told to stop, or until SIGTERM or SIGINT; then drain and return.

        Draining: what runs has `drain_s` to finish, and ends with an error then. Who comes
        meanwhile is told that there is no new work, and the health's addresses answer.
        """
        await self._server.serve(sockets=[sock])

    def stop(self) -> None:
        """Begin to drain; the second call ends at once. May be called from any thread."""
        self._app.drain()
        self._server.force_exit = self._server.should_exit
        self._server.should_exit = True


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[], None],
        stop: Callable[[], None],
        drain_s: float,
        on_limit: Callable[[], Awaitable[None]],
        on_reload: OnReload | None,
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._stop = stop
        self._drain_s = drain_s
        self._on_limit = on_limit
        self._on_reload = on_reload
        self._reloads: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        limit = asyncio.create_task(self._end_streams())
        try:
            await self._finish_requests()
            await super().shutdown(sockets)
        finally:
            limit.cancel()
            await asyncio.wait([limit])

    async def _finish_requests(self) -> None:
        """Until what runs now is over, the limit has come, or a second signal; still listening."""
        running = set(self.server_state.tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                while running and not self.force_exit:
                    _, running = await asyncio.wait(running, timeout=_GLANCE_S)

    async def _end_streams(self) -> None:
        await asyncio.sleep(self._drain_s)
        await self._on_limit()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread hears signals
            return
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        if self._on_reload is not None:
            loop.add_signal_handler(signal.SIGHUP, self._reload, self._on_reload)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
            if self._on_reload is not None:
                loop.remove_signal_handler(signal.SIGHUP)
                signal.signal(signal.SIGHUP, signal.SIG_IGN)  # one more while it ends is no end

    def _reload(self, on_reload: OnReload) -> None:
        task = asyncio.ensure_future(on_reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)
