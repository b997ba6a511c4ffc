"""The fields of a request that say how its tokens are drawn."""

import re
import sys
from typing import Annotated, cast

from pydantic import BeforeValidator, Field

from headrace.api.wire import Integer, Wire, printable
from headrace.types import SamplingParams

MAX_BIASES = 300  # entries of logit_bias
_INT64 = 1 << 63
_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


def _by_token_id(value: object) -> object:
    """A map of token ids, which JSON can only spell as strings."""
    if not isinstance(value, dict):
        return value
    spelled = cast("dict[str, object]", value)
    if len(spelled) > MAX_BIASES:
        raise ValueError(f"has {len(spelled)} entries, at most {MAX_BIASES} are allowed")
    for key in spelled:
        if not _TOKEN_ID.fullmatch(key):
            raise ValueError(f"'{printable(key)}' is no token id")
    return {int(key): bias for key, bias in spelled.items()}


Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Wide = Annotated[Integer, Field(ge=-_INT64, lt=_INT64)]


class SamplingFields(Wire):
    """Temperature and all that goes with it; a field left out is the model's own choice."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Wide | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Wide | None = None
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    logit_bias: Annotated[
        dict[int, Bias], BeforeValidator(_by_token_id, json_schema_input_type=dict[str, Bias])
    ] = Field(default_factory=dict[int, float])

    def sampling_params(self) -> SamplingParams:
        """What they mean; whether the ids of `logit_bias` exist is the provider's to check."""
        return SamplingParams(
            temperature=self.temperature,
            top_k=None if self.top_k is None else max(self.top_k, 0),
            top_p=None if self.top_p is None else max(self.top_p, sys.float_info.min),
            min_p=self.min_p,
            seed=self.seed,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias=tuple(self.logit_bias.items()),
        )
