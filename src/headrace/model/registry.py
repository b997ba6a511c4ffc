"""Which function builds which architecture."""

from collections.abc import Callable, Mapping
from typing import cast

from headrace.errors import CheckpointError
from headrace.model import gemma3, llama, mistral, olmo2, phi3, qwen2, qwen3
from headrace.model.config_json import ConfigJson
from headrace.model.program import Program

BUILDERS: Mapping[str, Callable[[ConfigJson], Program]] = {
    gemma3.ARCHITECTURE: gemma3.build_gemma3,
    llama.ARCHITECTURE: llama.build_llama,
    mistral.ARCHITECTURE: mistral.build_mistral,
    olmo2.ARCHITECTURE: olmo2.build_olmo2,
    phi3.ARCHITECTURE: phi3.build_phi3,
    qwen2.ARCHITECTURE: qwen2.build_qwen2,
    qwen3.ARCHITECTURE: qwen3.build_qwen3,
}


def build_program(config: Mapping[str, object]) -> Program:
    """The program of a checkpoint's `config.json`.

    Raises CheckpointError when the architecture is unknown, with the list of known ones, or when a
    value is missing or out of range.
    """
    named = config.get("architectures")
    names = cast("list[object]", named) if isinstance(named, list) else []
    for name in names:
        if isinstance(name, str) and name in BUILDERS:
            return BUILDERS[name](ConfigJson(config))
    raise CheckpointError(
        f"config.json: architecture {named!r} is not known; known: {', '.join(sorted(BUILDERS))}"
    )
