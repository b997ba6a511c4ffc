"""Where an HTTP/1.1 answer begins and ends (RFC 9112, sections 2 to 7)."""

from headrace.errors import EngineError

_MAX_HEAD_BYTES = 65_536


class BadFraming(EngineError):
    """What came is not HTTP/1.1."""


class AnswerFraming:
    """Takes bytes as they come; gives the body's, and says when the answer is complete."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_complete = False
        self._held = bytearray()
        self._left: int | None = None  # bytes of the body or of the chunk; None: until it closes
        self._is_chunked = False
        self._is_in_trailers = False
        self._has_head = False

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in `data`. Raises BadFraming."""
        if self._has_head and not self._is_chunked:
            return self._plain(data)
        self._held += data
        if not self._has_head and not self._take_head():
            return b""
        if self._is_chunked:
            return self._chunks()
        held, self._held = bytes(self._held), bytearray()
        return self._plain(held)

    def close(self) -> bool:
        """The connection ended: whether the answer was complete."""
        if self._has_head and not self._is_chunked and self._left is None:
            self.is_complete = True
        return self.is_complete

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection may serve another request."""
        is_framed = self._is_chunked or "content-length" in self.headers
        return is_framed and self.headers.get("connection", "").lower() != "close"

    def _take_head(self) -> bool:
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            if len(self._held) > _MAX_HEAD_BYTES:
                raise BadFraming("the answer's head does not end")
            return False
        first, *lines = bytes(self._held[:end]).decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise BadFraming(f"not an HTTP/1.1 answer: {first[:60]!r}")
        del self._held[: end + 4]
        self.status = int(words[1])
        if 100 <= self.status < 200:
            return self._take_head()
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._is_chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length", "")
        if self._is_chunked:
            self._left = 0
        elif length.isdigit():
            self._left = int(length)
            self.is_complete = self._left == 0
        self._has_head = True
        return True

    def _plain(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        taken = data[: self._left]
        self._left -= len(taken)
        self.is_complete = self._left == 0
        return taken

    def _chunks(self) -> bytes:
        body = bytearray()
        held = self._held
        while not self.is_complete:
            if self._left:
                taken = held[: self._left]
                body += taken
                del held[: len(taken)]
                self._left -= len(taken)
                if self._left:
                    break
                self._left = None  # its line end comes next
            end = held.find(b"\r\n")
            if end < 0:
                break
            line = bytes(held[:end])
            del held[: end + 2]
            if self._is_in_trailers:
                self.is_complete = not line
            elif self._left is None and not line:
                self._left = 0
            else:
                self._open_chunk(line)
        return bytes(body)

    def _open_chunk(self, line: bytes) -> None:
        try:
            self._left = int(line.split(b";")[0], 16)
        except ValueError as exc:
            raise BadFraming(f"not a chunk's size: {line[:20]!r}") from exc
        self._is_in_trailers = self._left == 0
