"""Messages as frames on a stream socket: four bytes of length, then a msgpack array of messages.

Whoever sends puts all it has into one frame: one message while the other end keeps up, many when
it is behind.
"""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from headrace.errors import EngineError

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 1 << 30  # a length above it is not ours: the ends have lost step

M = TypeVar("M", bound=msgspec.Struct)

_encoder = msgspec.msgpack.Encoder()


def frame(messages: Sequence[msgspec.Struct]) -> bytearray:
    """`messages` as one frame."""
    buffer = bytearray(LENGTH_BYTES)
    _encoder.encode_into(messages, buffer, LENGTH_BYTES)
    buffer[:LENGTH_BYTES] = (len(buffer) - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "little")
    return buffer


class FrameReader(Generic[M]):
    """Cuts a stream of bytes into frames again."""

    def __init__(self, kind: type[M]) -> None:
        """`kind`: the (union of) messages that may come."""
        self._decoder = msgspec.msgpack.Decoder(list[kind])
        self._held = b""

    def feed(self, data: bytes) -> Iterator[list[M]]:
        """The frames that `data` completes; the rest is kept.

        Raises EngineError when what comes is no frame of ours.
        """
        if self._held:
            data = self._held + data
        start = 0
        while len(data) - start >= LENGTH_BYTES:
            begin = start + LENGTH_BYTES
            length = int.from_bytes(data[start:begin], "little")
            if length > MAX_FRAME_BYTES:
                raise EngineError("front and engine do not understand each other")
            if len(data) < begin + length:
                break
            start = begin + length
            yield self._decode(data[begin:start])
        self._held = data[start:]

    def _decode(self, content: bytes) -> list[M]:
        try:
            return self._decoder.decode(content)
        except msgspec.MsgspecError as exc:
            raise EngineError(f"front and engine do not understand each other: {exc}") from exc
