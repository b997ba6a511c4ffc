"""The schemas of what goes out, by name; those of what comes in are the wire models' own."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "number"}
_NUMBER: Schema = {"type": "number"}
_FINISH: Schema = {"enum": ["stop", "length", "tool_calls", "content_filter"]}


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Schema, *, optional: Schema | None = None) -> Schema:
    """An object that has all of `properties`, maybe those of `optional`, and maybe more."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": {**properties, **(optional or {})},
    }


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _answer(kind: str, choice: str) -> Schema:
    return _object(
        {
            "id": _TEXT,
            "object": {"const": kind},
            "created": _COUNT,
            "model": _TEXT,
            "system_fingerprint": {"type": "string", "pattern": "^fp_[0-9a-f]{20}$"},
            "choices": _array(ref(choice)),
            "usage": ref("Usage"),
            "time_info": ref("TimeInfo"),
        },
        optional={"service_tier": _TEXT, "service_tier_used": _TEXT},
    )


_ERROR = {"message": _TEXT, "type": _TEXT, "param": _TEXT, "code": _TEXT}

_LOGPROB = {
    "token": _TEXT,
    "logprob": _NUMBER,
    "bytes": _or_null(_array({"type": "integer", "minimum": 0, "maximum": 255})),
}

SCHEMAS: Mapping[str, Schema] = {
    "Error": _object({**_ERROR, "error": _object(_ERROR)}),
    "Usage": _object(
        {
            "prompt_tokens": _COUNT,
            "completion_tokens": _COUNT,
            "total_tokens": _COUNT,
            "prompt_tokens_details": _object({"cached_tokens": _COUNT}),
            "completion_tokens_details": _object(
                {
                    "reasoning_tokens": _COUNT,
                    "accepted_prediction_tokens": _COUNT,
                    "rejected_prediction_tokens": _COUNT,
                }
            ),
        }
    ),
    "TimeInfo": _object(
        {
            "queue_time": _SECONDS,
            "prompt_time": _SECONDS,
            "completion_time": _SECONDS,
            "total_time": _SECONDS,
            "created": _SECONDS,
        }
    ),
    "ChatCompletion": _answer("chat.completion", "ChatChoice"),
    "ChatChoice": _object(
        {
            "index": _COUNT,
            "message": _object(
                {"role": {"const": "assistant"}},
                optional={
                    "content": _or_null(_TEXT),
                    "reasoning": _TEXT,
                    "tool_calls": _array(ref("ToolCall")),
                },
            ),
            "finish_reason": _FINISH,
            "logprobs": _or_null(ref("Logprobs")),
        },
        optional={"reasoning_logprobs": ref("Logprobs")},
    ),
    "Logprobs": _object({"content": _array(ref("Logprob"))}),
    "ToolCall": _object(
        {
            "id": _TEXT,
            "type": {"const": "function"},
            "function": _object({"name": _TEXT, "arguments": _TEXT}),
        }
    ),
    "Logprob": _object({**_LOGPROB, "top_logprobs": _array(_object(_LOGPROB))}),
    "Completion": _answer("text_completion", "CompletionChoice"),
    "CompletionChoice": _object(
        {
            "index": _COUNT,
            "text": _TEXT,
            "finish_reason": _FINISH,
            "logprobs": _or_null(
                _object(
                    {
                        "tokens": _array(_TEXT),
                        "token_logprobs": _array(_or_null(_NUMBER)),
                        "top_logprobs": _array(
                            _or_null({"type": "object", "additionalProperties": _NUMBER})
                        ),
                        "text_offset": _array(_COUNT),
                    }
                )
            ),
        },
        optional={"tokens": _array(_COUNT)},
    ),
    "Tokenized": _object(
        {
            "count": _COUNT,
            "max_model_len": _COUNT,
            "tokens": _array(_COUNT),
            "token_strs": _or_null(_array(_TEXT)),
        }
    ),
    "Detokenized": _object({"prompt": _TEXT}),
    "Model": _object({"id": _TEXT, "created": _COUNT}, optional={"owned_by": _TEXT, "root": _TEXT}),
    "ModelList": _object({"data": _array(ref("Model"))}, optional={"object": {"const": "list"}}),
    "Status": _object({"status": _TEXT}),
    "Document": _object({"openapi": _TEXT, "info": {}, "paths": {}, "components": {}}),
}
