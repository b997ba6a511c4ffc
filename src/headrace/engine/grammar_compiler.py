"""Grammars compiled off the engine's loop: few threads, a deadline, bounded memory, tenants apart.

A thread makes the vocabulary when the engine has nothing to do, or when the first grammar comes.
Tenants take turns, and each has one grammar compiled at a time: one that is too slow is given up,
but holds its thread until the library, which bounds its own work by fuel, comes back; the other
thread serves the others meanwhile. The last compiled grammars are kept, for the tenant that sent
them: a request that asks for one again gets a copy, and nobody learns by the clock what others
asked for.
"""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.engine.grammar import Grammar, first_line
from headrace.errors import GrammarTooComplex, HeadraceError, InvalidRequest, QueueFull

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

DEADLINE_S = 2.0  # for one grammar, from when the thread begins with it
THREADS = 2
MOST_WAITING = 64  # grammars of one tenant
KEPT = 64  # compiled grammars
KEPT_OF_ONE = 16  # of one tenant's
KEPT_CHARS = 4 << 20  # of their sources
MAX_LEXER_STATES = 50_000  # some 2 KB each: 100 MB at most for one grammar
MAX_CHARS = 1 << 20  # of one source
MAX_RULES = 1_000  # rules and references: the library follows chains of them by recursion
_RULE_SIGNS = ("ref", "%json", "\n", "\\n")  # each rule has a line, bare or as JSON spells it
# What the library says when a grammar is larger than its limits.
_LIMITS = ("fuel", "too complex", "too many", "too big", "too large", "limit")

MakeTokenizer = Callable[[], "LLTokenizer"]
_Key = tuple[str, str]  # tenant, source


class GrammarCompiler:
    """Compiles grammars for one vocabulary; results are there when `fileno` can be read."""

    def __init__(self, make_tokenizer: MakeTokenizer, *, deadline_s: float = DEADLINE_S) -> None:
        self._make_tokenizer = make_tokenizer
        self._deadline_s = deadline_s
        self._tokenizer: LLTokenizer | None = None
        self.is_prepared = False  # or is being prepared
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="grammar")
        self._vocabulary_lock = threading.Lock()
        self._lock = threading.Lock()  # of all that follows
        self._kept: OrderedDict[_Key, LLMatcher] = OrderedDict()  # the oldest first
        self._waiting: OrderedDict[str, deque[tuple[str, str]]] = (
            OrderedDict()
        )  # by tenant, in turn
        self._busy: set[str] = set()  # tenants one of whose grammars is being compiled
        self._asked: dict[str, threading.Timer] = {}  # by request
        self._done = deque[tuple[str, Grammar | HeadraceError]]()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def num_kept(self) -> int:
        """Compiled grammars that are kept."""
        return len(self._kept)

    def fileno(self) -> int:
        """Readable when `take` has something to give."""
        return self._reader

    def compile(self, request_id: str, source: str, tenant: str) -> None:
        """Begin; `take` gives the result. Raises QueueFull when too many of the tenant's wait."""
        timer = threading.Timer(self._deadline_s, self._give_up, (request_id,))
        timer.daemon = True
        with self._lock:
            waiting = self._waiting.setdefault(tenant, deque())
            if len(waiting) >= MOST_WAITING:
                raise QueueFull(
                    f"{len(waiting)} grammars are waiting to be compiled; try again in a moment"
                )
            waiting.append((request_id, source))
            self._asked[request_id] = timer
        self._threads.submit(self._work)

    def prepare(self) -> None:
        """Make the vocabulary now, when nobody waits for a token: a large one holds Python's lock
        for a good part of a second. What goes wrong is said to the first who brings a grammar."""
        if not self.is_prepared:
            self.is_prepared = True
            self._threads.submit(self._vocabulary)

    def take(self) -> list[tuple[str, Grammar | HeadraceError]]:
        """What is done: a grammar at its beginning, or why there is none, by request."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)
        done: list[tuple[str, Grammar | HeadraceError]] = []
        with self._lock:
            while self._done:
                done.append(self._done.popleft())
        return done

    def close(self) -> None:
        """Forget all; nothing is compiled any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for timer in self._asked.values():
                timer.cancel()
            self._asked.clear()
            self._waiting.clear()

    def _work(self) -> None:
        """Compile what waits, tenant by tenant, as long as there is a tenant that is not served."""
        while (turn := self._next()) is not None:
            tenant, request_id, source = turn
            try:
                self._serve(request_id, (tenant, source))
            finally:
                with self._lock:
                    self._busy.discard(tenant)

    def _next(self) -> tuple[str, str, str] | None:
        """Whose turn it is: tenant, request and source; the tenant is busy from now on."""
        with self._lock:
            tenant = next((each for each in self._waiting if each not in self._busy), None)
            if tenant is None:
                return None
            waiting = self._waiting.pop(tenant)
            request_id, source = waiting.popleft()
            if waiting:
                self._waiting[tenant] = waiting  # behind the others
            self._busy.add(tenant)
            return tenant, request_id, source

    def _serve(self, request_id: str, key: _Key) -> None:
        with self._lock:
            timer = self._asked.get(request_id)
        if timer is None:
            return
        try:
            tokenizer = self._vocabulary()
            timer.start()
            found: Grammar | HeadraceError = self._grammar(key, tokenizer)
        except HeadraceError as exc:
            found = exc
        except Exception as exc:  # noqa: BLE001 (whatever a library does, the request hears of it)
            found = InvalidRequest(f"the grammar cannot be used: {exc}", param="response_format")
        self._say(request_id, found)

    def _vocabulary(self) -> "LLTokenizer":
        with self._vocabulary_lock:
            if self._tokenizer is None:
                self._tokenizer = self._make_tokenizer()
            return self._tokenizer

    def _give_up(self, request_id: str) -> None:
        late = f"the grammar takes longer than {self._deadline_s:g} s to compile"
        self._say(request_id, GrammarTooComplex(late))

    def _say(self, request_id: str, found: Grammar | HeadraceError) -> None:
        """Give the result, unless it was given."""
        with self._lock:
            timer = self._asked.pop(request_id, None)
            if timer is None:
                return
            timer.cancel()
            self._done.append((request_id, found))
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def _grammar(self, key: _Key, tokenizer: "LLTokenizer") -> Grammar:
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            kept = self._compiled(key[1], tokenizer)
        self._keep(key, kept)
        # Nobody else copies it: it is this tenant's, who has one grammar compiled at a time.
        return Grammar(kept.deep_copy(), tokenizer.vocab_size)

    def _compiled(self, source: str, tokenizer: "LLTokenizer") -> "LLMatcher":
        from llguidance import LLMatcher, LLParserLimits

        if len(source) > MAX_CHARS:
            raise GrammarTooComplex(f"the grammar is longer than {MAX_CHARS} characters")
        if max(source.count(sign) for sign in _RULE_SIGNS) > MAX_RULES:
            raise GrammarTooComplex(f"the grammar has more than {MAX_RULES} rules or references")
        limits = LLParserLimits(max_lexer_states=MAX_LEXER_STATES, verbose_errors=False)
        matcher = LLMatcher(tokenizer, source, log_level=0, limits=limits)
        if matcher.is_error():
            said = first_line(matcher.get_error())
            if any(word in said.lower() for word in _LIMITS):
                raise GrammarTooComplex(f"the grammar is too complex: {said}")
            raise InvalidRequest(f"the grammar cannot be used: {said}", param="response_format")
        return matcher

    def _keep(self, key: _Key, matcher: "LLMatcher") -> None:
        """As the newest; the tenant's oldest goes when it has too many, else the oldest of all."""
        with self._lock:
            self._kept[key] = matcher
            self._kept.move_to_end(key)
            own = [each for each in self._kept if each[0] == key[0]]
            if len(own) > KEPT_OF_ONE:
                del self._kept[own[0]]
            while len(self._kept) > 1 and not self._fits():
                self._kept.popitem(last=False)

    def _fits(self) -> bool:
        chars = sum(len(source) for _, source in self._kept)
        return len(self._kept) <= KEPT and chars <= KEPT_CHARS
