"""A model that prefers one thing for ever is led out of it by its grammar."""

import json
from typing import Any

import pytest

from headrace.engine.messages import Accepted
from tests.engine.test_engine import endings, run
from tests.engine.test_grammar import json_grammar, make_engine, settle, submit, text_of

BLANKS = tuple((ord(char), 100.0) for char in " \n\t\r")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"enum": [1, 2]},
        "all": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["n", "all"],
    "additionalProperties": False,
}


@pytest.mark.guards("D72")
def test_a_model_that_prefers_white_space_cannot_write_it_for_ever() -> None:
    engine = make_engine()
    asked = submit("a", json_grammar(SCHEMA), 200, temperature=0.0, logit_bias=BLANKS)
    assert settle(engine, asked) == [Accepted(id="a")]
    messages = run(engine)
    assert endings(messages) == {"a": "stop"}
    text = text_of(messages, "a")
    assert json.loads(text)["n"] in (1, 2)
    assert "  " not in text
    assert not set("\n\t\r") & set(text)
