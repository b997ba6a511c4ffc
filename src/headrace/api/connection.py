"""One client on one ASGI connection: work for it ends when it goes away."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from starlette.types import Message, Receive, Send


class HungUp(Exception):
    """The client closed the connection, or reads no more. Nobody is left to answer."""


class Connection:
    """Sends to a client, and notices when it hangs up."""

    def __init__(self, receive: Receive, send: Send) -> None:
        """`receive` has no body left to give."""
        self._receive = receive
        self._send = send
        self._is_answered = False

    async def send(self, message: Message) -> None:
        """Send one ASGI message."""
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._is_answered = self._is_answered or is_last
        await self._send(message)

    async def run(
        self,
        work: Coroutine[None, None, None],
        *,
        beat: Callable[[], Awaitable[bool]],
        every_s: float,
        outlives: bool = False,
    ) -> None:
        """Run `work`, and cancel it at once when the client hangs up before its answer is out.

        With `outlives` it goes on then, to its end. `beat` is called every `every_s` seconds; when
        it answers False the client counts as gone.
        Raises HungUp then, and whatever `work` raises.
        """
        working = asyncio.create_task(work)
        listening = asyncio.create_task(self._until_gone())
        watched = {working, listening}
        is_here = True
        try:
            while is_here and not working.done():
                done, _ = await asyncio.wait(
                    watched, timeout=every_s, return_when=asyncio.FIRST_COMPLETED
                )
                if listening in done:
                    watched.discard(listening)
                    is_here = (
                        outlives or self._is_answered
                    )  # then the server has just closed the exchange
                elif not done:
                    is_here = await beat()
        finally:
            hung_up = working.cancel()
            listening.cancel()
            await asyncio.wait({working, listening})
        if hung_up:
            raise HungUp
        working.result()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
