"""SIGHUP: the settings file is read again, and what may change while the server runs does."""

import asyncio
import logging
from collections.abc import Callable

from headrace.api import App
from headrace.api.live import change
from headrace.config import Config
from headrace.errors import ConfigError
from headrace.telemetry.logs import Event, set_level

log = logging.getLogger("headrace.settings")


class Reload:
    """Called at each signal. A file that is wrong anywhere changes nothing, and is told of."""

    def __init__(self, app: App, config: Config, load: Callable[[], Config]) -> None:
        """`load` reads the settings as they were read at the start."""
        self._app = app
        self._config = config
        self._load = load
        self._turn = asyncio.Lock()

    async def __call__(self) -> None:
        """Read, check, then change; on the event loop but for the reading."""
        async with self._turn:
            try:
                found = change(self._config, await asyncio.to_thread(self._load))
                self._app.follow(found.config)
            except ConfigError as exc:
                log.error(Event("settings_refused", reason=str(exc)))
                return
            self._config = found.config
            set_level(found.config.log.level)
            log.info(Event("settings_reloaded", changed=", ".join(found.live) or "nothing"))
            if found.waiting:
                log.warning(Event("settings_wait_for_a_restart", names=", ".join(found.waiting)))
