"""Where a model's chat template runs: it can build text from what it is given, and no more.

A template comes from a model folder, so it is a stranger's program. It runs in Jinja's immutable
sandbox (no attributes that lead to Python's inside, nothing it is given can be changed) with four
limits more: on its output, on the loop turns and the time it takes, and on operations that blow a
value up (`template_limits`).
The dialect is the one Hugging Face documents for chat templates.
"""

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import cast

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from headrace.clock import Clock, SystemClock
from headrace.model.template_limits import (
    MAX_OUTPUT_CHARS,
    bounded,
    check_binop,
    check_call,
    check_size,
)

MAX_TURNS = 250_000  # loop turns and macro calls of one rendering; a message takes a few
MAX_RENDER_S = 3.0  # a rendering takes milliseconds; the start of a server is worth no more
_CLOCK = SystemClock()


class TemplateRefusal(Exception):
    """The template called `raise_exception`: these messages are not for this model."""


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Compiles and renders chat templates. Safe to share between threads."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, now: Callable[[], datetime], clock: Clock = _CLOCK) -> None:
        """`now` gives the local date and time that `strftime_now` formats; `clock` the limit."""
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, _Generation],
        )
        self._turns = threading.local()
        self._clock = clock

        def strftime_now(form: str) -> str:
            return now().strftime(form)

        names = cast("dict[str, object]", self.globals)  # pyright: ignore[reportUnknownMemberType]
        names |= {"raise_exception": _refuse, "strftime_now": strftime_now, "range": self._range}
        del names["lipsum"]
        filters = cast("dict[str, object]", self.filters)  # pyright: ignore[reportUnknownMemberType]
        filters["tojson"] = _tojson
        for name in ("batch", "center", "format", "indent", "slice", "wordwrap"):
            del filters[name]  # they can pad without a limit
        for name in ("join", "replace"):
            filters[name] = bounded(name, cast("Callable[..., object]", filters[name]))

    def compile_chat(self, source: str) -> jinja2.Template:
        """`source` compiled, each loop and macro counting its turns; raises TemplateError."""
        tree = _Checked().visit(self.parse(source))
        for block in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))):
            count = nodes.Call(nodes.EnvironmentAttribute("count_turn"), [], [], None, None)
            block.body.insert(0, nodes.ExprStmt(count).set_lineno(block.lineno))
        return self.from_string(tree)

    def render_chat(self, template: jinja2.Template, values: Mapping[str, object]) -> str:
        """What `template` writes for `values`; raises SecurityError when it goes over a limit."""
        self._turns.left = MAX_TURNS
        self._turns.ends_s = self._clock.now_s() + MAX_RENDER_S
        written: list[str] = []
        room = MAX_OUTPUT_CHARS
        for text in template.generate(values):
            room -= len(text)
            if room < 0:
                raise SecurityError(f"it writes more than {MAX_OUTPUT_CHARS:,} characters")
            written.append(text)
        return "".join(written)

    def count_turn(self, turns: int = 1) -> None:
        """Called by the template at each turn of a loop and each call of a macro."""
        self._turns.left -= turns
        if self._turns.left < 0:
            raise SecurityError(f"it takes more than {MAX_TURNS:,} loop turns")
        if self._clock.now_s() > self._turns.ends_s:
            raise SecurityError(f"it takes more than {MAX_RENDER_S:g} seconds")

    def made(self, value: object) -> object:
        """Called by the template for each list, tuple and object it writes down: `value` itself.

        One that holds another twice doubles what its text has; a few dozen such would fill memory.
        """
        check_size(value)
        return value

    def join_text(self, *parts: object) -> str:
        """Called by the template for `part ~ part`."""
        text = "".join(map(str, parts))
        if len(text) > MAX_OUTPUT_CHARS:
            raise SecurityError(f"it joins more than {MAX_OUTPUT_CHARS:,} characters")
        return text

    def call(self, context: Context, obj: object, *args: object, **kwargs: object) -> object:
        """Calls `obj`, unless it is unsafe or asked to make something huge."""
        name, owner = getattr(obj, "__name__", ""), getattr(obj, "__self__", None)
        is_method = isinstance(owner, str)
        check_call(name if is_method else "", owner if is_method else "", *args, *kwargs.values())
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """left + right, left * right and the like, unless the result would be huge."""
        check_binop(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def _range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self.count_turn(len(numbers))
        return numbers


class _Checked(NodeTransformer):
    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (the base class's way)
        parts = [cast("nodes.Expr", self.visit(part)) for part in node.nodes]
        join = nodes.EnvironmentAttribute("join_text")
        return nodes.Call(join, parts, [], None, None).set_lineno(node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802 (as above)
        return self._made(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802 (as above)
        return self._made(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802 (as above)
        return self._made(node) if node.ctx == "load" else self.generic_visit(node)

    def _made(self, node: nodes.Expr) -> nodes.Node:
        inner = cast("nodes.Expr", self.generic_visit(node))
        made = nodes.EnvironmentAttribute("made")
        return nodes.Call(made, [inner], [], None, None).set_lineno(node.lineno)


class _Generation(Extension):
    """`{% generation %}`...`{% endgeneration %}` marks what a model wrote; for training only."""

    tags = {"generation"}  # noqa: RUF012 (as the base class declares it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: object) -> None:
    raise TemplateRefusal(str(message))


def _tojson(
    value: object,
    *,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without the HTML escapes of Jinja's own filter: the model reads it, not a browser."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
