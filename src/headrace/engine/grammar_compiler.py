"""Grammars compiled off the engine's loop: one thread, a deadline, bounded memory.

The thread makes the vocabulary when the first grammar comes, and keeps the last compiled grammars:
a request that asks for one of them gets a copy. A grammar that is too slow is given up; the library
bounds its own work by fuel, so the thread comes free again.
"""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.engine.grammar import Grammar, first_line
from headrace.errors import GrammarTooComplex, HeadraceError, InvalidRequest

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

DEADLINE_S = 2.0  # for one grammar, from when the thread begins with it
KEPT = 32  # compiled grammars
KEPT_CHARS = 4 << 20  # of their sources
MAX_LEXER_STATES = 50_000  # some 2 KB each: 100 MB at most for one grammar
MAX_CHARS = 1 << 20  # of one source
MAX_RULES = 1_000  # rules and references: the library follows chains of them by recursion
_RULE_SIGNS = ("ref", "%json", "\n", "\\n")  # each rule has a line, bare or as JSON spells it
# What the library says when a grammar is larger than its limits.
_LIMITS = ("fuel", "too complex", "too many", "too big", "too large", "limit")

MakeTokenizer = Callable[[], "LLTokenizer"]


class GrammarCompiler:
    """Compiles grammars for one vocabulary; results are there when `fileno` can be read."""

    def __init__(self, make_tokenizer: MakeTokenizer, *, deadline_s: float = DEADLINE_S) -> None:
        self._make_tokenizer = make_tokenizer
        self._deadline_s = deadline_s
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()
        self._kept_chars = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammar")
        self._lock = threading.Lock()
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

    def compile(self, request_id: str, source: str) -> None:
        """Begin; `take` gives the result."""
        timer = threading.Timer(self._deadline_s, self._give_up, (request_id,))
        timer.daemon = True
        with self._lock:
            self._asked[request_id] = timer
        self._thread.submit(self._work, request_id, source)

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
        self._thread.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for timer in self._asked.values():
                timer.cancel()
            self._asked.clear()

    def _work(self, request_id: str, source: str) -> None:
        with self._lock:
            timer = self._asked.get(request_id)
        if timer is None:
            return
        try:
            if self._tokenizer is None:
                self._tokenizer = self._make_tokenizer()
            timer.start()
            found: Grammar | HeadraceError = self._grammar(source, self._tokenizer)
        except HeadraceError as exc:
            found = exc
        except Exception as exc:  # noqa: BLE001 (whatever a library does, the request hears of it)
            found = InvalidRequest(f"the grammar cannot be used: {exc}", param="response_format")
        self._say(request_id, found)

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

    def _grammar(self, source: str, tokenizer: "LLTokenizer") -> Grammar:
        kept = self._kept.get(source)
        if kept is None:
            kept = self._compiled(source, tokenizer)
            self._keep(source, kept)
        self._kept.move_to_end(source)
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

    def _keep(self, source: str, matcher: "LLMatcher") -> None:
        self._kept[source] = matcher
        self._kept_chars += len(source)
        while len(self._kept) > KEPT or (self._kept_chars > KEPT_CHARS and len(self._kept) > 1):
            oldest, _ = self._kept.popitem(last=False)
            self._kept_chars -= len(oldest)
