"""The tool formats we know, and which of them a chat template was written for."""

from collections.abc import Mapping

from headrace.model.json_calls import HERMES, LLAMA3, MISTRAL
from headrace.model.pythonic_calls import PythonicCalls
from headrace.model.tool_format import ToolFormat

PYTHONIC = PythonicCalls()
TOOL_FORMATS: Mapping[str, ToolFormat] = {
    form.name: form for form in (LLAMA3, PYTHONIC, HERMES, MISTRAL)
}

# What a template writes around calls it shows the model, the surest sign first.
_SIGNS: tuple[tuple[str, ToolFormat], ...] = (
    ("[TOOL_CALLS]", MISTRAL),
    ("<tool_call>", HERMES),
    ("func_name1(params_name1=", PYTHONIC),
    ('"parameters": ', LLAMA3),
    ("<|python_tag|>", LLAMA3),
)


def tool_format_of(template: str) -> ToolFormat:
    """The format that `template`, the source of a chat template, asks for or shows.

    A template that shows none gets Hermes': plain text that any vocabulary can write.
    """
    return next((form for sign, form in _SIGNS if sign in template), HERMES)
