"""The fields of a chat request about tools."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from headrace.api.json_schema import offences
from headrace.api.wire import Wire, printable
from headrace.types import Tool, Toolbox, ToolUse

MAX_TOOLS = 128
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)


def _tool_name(value: object) -> object:
    if isinstance(value, str) and not _NAME.fullmatch(value):
        raise ValueError(f"'{printable(value)}' must be 1 to 64 of a-z, A-Z, 0-9, _ and -")
    return value


ToolName = Annotated[str, BeforeValidator(_tool_name)]


class ToolFunction(Wire):
    """What may be called."""

    name: ToolName
    description: Annotated[str, Field(max_length=65_536)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class WireTool(Wire):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: ToolFunction


class NamedFunction(Wire):
    """A tool by its name."""

    name: ToolName


class NamedTool(Wire):
    """The one tool that is to be called."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedTool


def toolbox_of(
    tools: Sequence[WireTool], choice: ToolChoice | None, *, parallel: bool | None
) -> Toolbox | None:
    """What they mean; None: there are no tools."""
    if not tools:
        return None
    known = tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description or "",
            parameters=tool.function.parameters or {},
            strict=bool(tool.function.strict),
        )
        for tool in tools
    )
    is_parallel = parallel is not False
    if isinstance(choice, NamedTool):
        only = choice.function.name
        return Toolbox(tools=known, use=ToolUse.REQUIRED, only=only, parallel=False)
    return Toolbox(tools=known, use=ToolUse(choice or "auto"), parallel=is_parallel)


def tool_offences(tools: Sequence[WireTool], choice: ToolChoice | None) -> list[str]:
    """One line for each thing that is wrong with them."""
    found: list[str] = []
    names = [tool.function.name for tool in tools]
    for number, name in enumerate(names):
        if name in names[:number]:
            found.append(f"tools.{number}.function.name: '{name}' is there twice")
    for number, tool in enumerate(tools):
        schema = tool.function.parameters
        if schema:
            place = f"tools.{number}.function.parameters"
            found += offences(schema, place, strict=bool(tool.function.strict))
            if schema.get("type", "object") != "object":
                found.append(f"{place}.type: must be 'object'")
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        found.append(f"tool_choice: '{choice.function.name}' is not in tools")
    if choice == "required" and not names:
        found.append("tool_choice: 'required' needs tools")
    return found
