"""An agent's loop: a model buys something with four tools that run here, in up to ten calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace.bench.client import Answer, ToolCall
from headrace.bench.scenarios.schema import follows
from headrace.bench.scenarios.task import Call, Message, Outcome
from headrace.bench.scenarios.words import Writer, words

MAX_CALLS = 10
_SUPPLIERS = 3
_STRING = {"type": "string"}
_ASKED = {"supplier": _STRING, "goods": _STRING}


def _tool(name: str, told: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "function",
        "function": {"name": name, "description": told, "parameters": parameters},
    }


_TOOLS = (
    _tool("list_suppliers", "Who sells these goods.", {"goods": _STRING}),
    _tool("get_price", "Price of a crate at a supplier, in crowns.", _ASKED),
    _tool("get_stock", "Crates a supplier has.", _ASKED),
    _tool("order", "Order crates. Ends the task.", {**_ASKED, "crates": {"type": "integer"}}),
)
_PARAMETERS = {t["function"]["name"]: t["function"]["parameters"] for t in _TOOLS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Order `crates` of `goods` from the cheapest supplier that has as many."""

    id: str
    scenario: str = "agent"
    label: str
    goods: str
    crates: int
    prices: Mapping[str, int] = field(hash=False)  # by supplier
    stock: Mapping[str, int] = field(hash=False)

    @property
    def supplier(self) -> str:
        """The right one."""
        able = (name for name in self.prices if self.stock[name] >= self.crates)
        return min(able, key=lambda name: self.prices[name])

    def next_call(self, answers: Sequence[Answer]) -> Call | None:
        """The dialogue so far with what the tools said; None after the order, or too many calls."""
        if answers and (len(answers) == MAX_CALLS or not answers[-1].calls):
            return None
        if any(call.name == "order" for answer in answers for call in answer.calls):
            return None
        messages: list[Message] = [{"role": "user", "content": self._asked()}]
        for answer in answers:
            messages += self._turn(answer)
        return Call(messages=messages, max_tokens=160, tools=_TOOLS, tool_choice="required")

    def check(self, answers: Sequence[Answer]) -> Outcome:
        """PASSED where the first order is the right one; else the first thing wrong about it."""
        orders = [call for answer in answers for call in answer.calls if call.name == "order"]
        if not orders:
            names = {call.name for answer in answers for call in answer.calls}
            return Outcome.WRONG_TOOL if names - set(_PARAMETERS) else Outcome.WRONG_ANSWER
        try:
            given = msgspec.json.decode(orders[0].arguments)
        except msgspec.DecodeError:
            return Outcome.INVALID_JSON
        if not follows(given, _PARAMETERS["order"]):
            return Outcome.INVALID_SCHEMA
        wanted = {"supplier": self.supplier, "goods": self.goods, "crates": self.crates}
        return Outcome.PASSED if given == wanted else Outcome.WRONG_ARGUMENTS

    def _asked(self) -> str:
        return (
            f"[{self.label}] Order {self.crates} crates of {self.goods} from the cheapest supplier "
            "that has that many in stock. Find out with the tools, one call at a time, then order."
        )

    def _turn(self, answer: Answer) -> list[Message]:
        """What the model said, and what each tool answered."""
        written = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.calls
        ]
        said = {"role": "assistant", "content": answer.text or None, "tool_calls": written}
        told = [
            {"role": "tool", "tool_call_id": call.id, "content": self._told(call)}
            for call in answer.calls
        ]
        return [said, *told]

    def _told(self, call: ToolCall) -> str:
        """What the tool answers."""
        try:
            given = msgspec.json.decode(call.arguments)
        except msgspec.DecodeError:
            return "error: the arguments are no JSON"
        if call.name not in _PARAMETERS or not follows(given, _PARAMETERS[call.name]):
            return "error: no such tool or wrong arguments"
        if given["goods"] != self.goods:
            return f"nobody sells {given['goods']}"
        if call.name == "list_suppliers":
            return ", ".join(self.prices)
        table = self.prices if call.name == "get_price" else self.stock
        return str(table.get(given["supplier"], "no such supplier"))


def errand(seed: int, number: int) -> Errand:
    """An errand; the cheapest of three suppliers never has enough, so that stock matters."""
    writer, known = Writer(seed, "agent", number), words()
    first = writer.number(0, len(known.people) - 1)
    names = [known.people[(first + i) % len(known.people)] for i in range(_SUPPLIERS)]
    crates = writer.number(20, 60)
    cheap = writer.number(0, _SUPPLIERS - 1)
    price = writer.number(30, 60)
    step = writer.number(1, 9)
    prices = {name: price + step * ((i - cheap) % _SUPPLIERS) for i, name in enumerate(names)}
    stock = {
        name: crates - 5 if i == cheap else crates + writer.number(0, 40)
        for i, name in enumerate(names)
    }
    return Errand(
        id=f"agent/{number}",
        label=writer.label,
        goods=writer.pick(known.goods),
        crates=crates,
        prices=prices,
        stock=stock,
    )
