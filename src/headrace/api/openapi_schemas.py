"""The schemas of what goes out, by name; those of what comes in are the wire models' own."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "number"}
_NUMBER: Schema = {"type": "number"}
_FINISH: Schema = {"enum": ["stop", "length", "tool_calls", "content_filter"]}


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(properties: Schema, *, optional: Schema | None = None) -> Schema:
    """An object that has all of `properties`, maybe those of `optional`, and maybe more."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": {**properties, **(optional or {})},
    }


def array_of(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def or_null(schema: Schema) -> Schema:
    """That, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def _percentiles(*names: str) -> Schema:
    return object_of(dict.fromkeys(names, or_null(_NUMBER)))


def _answer(kind: str, choice: str) -> Schema:
    return object_of(
        {
            "id": TEXT,
            "object": {"const": kind},
            "created": COUNT,
            "model": TEXT,
            "system_fingerprint": {"type": "string", "pattern": "^fp_[0-9a-f]{20}$"},
            "choices": array_of(ref(choice)),
            "usage": ref("Usage"),
            "time_info": ref("TimeInfo"),
        },
        optional={"service_tier": TEXT, "service_tier_used": TEXT},
    )


_ERROR = {"message": TEXT, "type": TEXT, "param": TEXT, "code": TEXT}

_OF_LIMITS = {
    "rate_limit": object_of(
        {
            "bucket": TEXT,
            "whose": TEXT,
            "limit": COUNT,
            "used": COUNT,
            "requested": COUNT,
            "wait_s": _NUMBER,
        }
    )
}

_LOGPROB = {
    "token": TEXT,
    "logprob": _NUMBER,
    "bytes": or_null(array_of({"type": "integer", "minimum": 0, "maximum": 255})),
}

SCHEMAS: Mapping[str, Schema] = {
    "Error": object_of(
        {**_ERROR, "error": object_of(_ERROR, optional=_OF_LIMITS)}, optional=_OF_LIMITS
    ),
    "Usage": object_of(
        {
            "prompt_tokens": COUNT,
            "completion_tokens": COUNT,
            "total_tokens": COUNT,
            "prompt_tokens_details": object_of({"cached_tokens": COUNT}),
            "completion_tokens_details": object_of(
                {
                    "reasoning_tokens": COUNT,
                    "accepted_prediction_tokens": COUNT,
                    "rejected_prediction_tokens": COUNT,
                }
            ),
        }
    ),
    "TimeInfo": object_of(
        {
            "queue_time": _SECONDS,
            "prompt_time": _SECONDS,
            "completion_time": _SECONDS,
            "total_time": _SECONDS,
            "created": _SECONDS,
        }
    ),
    "ChatCompletion": _answer("chat.completion", "ChatChoice"),
    "ChatChoice": object_of(
        {
            "index": COUNT,
            "message": object_of(
                {"role": {"const": "assistant"}},
                optional={
                    "content": or_null(TEXT),
                    "reasoning": TEXT,
                    "tool_calls": array_of(ref("ToolCall")),
                },
            ),
            "finish_reason": _FINISH,
            "logprobs": or_null(ref("Logprobs")),
        },
        optional={"reasoning_logprobs": ref("Logprobs")},
    ),
    "Logprobs": object_of({"content": array_of(ref("Logprob"))}),
    "ToolCall": object_of(
        {
            "id": TEXT,
            "type": {"const": "function"},
            "function": object_of({"name": TEXT, "arguments": TEXT}),
        }
    ),
    "Logprob": object_of({**_LOGPROB, "top_logprobs": array_of(object_of(_LOGPROB))}),
    "Completion": _answer("text_completion", "CompletionChoice"),
    "CompletionChoice": object_of(
        {
            "index": COUNT,
            "text": TEXT,
            "finish_reason": _FINISH,
            "logprobs": or_null(
                object_of(
                    {
                        "tokens": array_of(TEXT),
                        "token_logprobs": array_of(or_null(_NUMBER)),
                        "top_logprobs": array_of(
                            or_null({"type": "object", "additionalProperties": _NUMBER})
                        ),
                        "text_offset": array_of(COUNT),
                    }
                )
            ),
        },
        optional={"tokens": array_of(COUNT)},
    ),
    "Tokenized": object_of(
        {
            "count": COUNT,
            "max_model_len": COUNT,
            "tokens": array_of(COUNT),
            "token_strs": or_null(array_of(TEXT)),
        }
    ),
    "Detokenized": object_of({"prompt": TEXT}),
    "Model": object_of({"id": TEXT, "created": COUNT}, optional={"owned_by": TEXT, "root": TEXT}),
    "ModelList": object_of(
        {"data": array_of(ref("Model"))}, optional={"object": {"const": "list"}}
    ),
    "Status": object_of({"status": TEXT}),
    "ServiceStatus": object_of(
        {
            "object": {"const": "status"},
            "ready": {"type": "boolean"},
            "window_days": COUNT,
            "since": or_null(COUNT),
            "availability": or_null(_NUMBER),
            "refused": COUNT,
            "models": array_of(ref("ModelStatus")),
        }
    ),
    "ModelStatus": object_of(
        {
            "id": TEXT,
            "backend": TEXT,
            "running": COUNT,
            "waiting": COUNT,
            "cache_used": _NUMBER,
            "tokens_per_second": _NUMBER,
            "last_minute": array_of(_NUMBER),
            "last_hours": ref("ServiceFigures"),
            "last_30_days": ref("ServiceFigures"),
        }
    ),
    "ServiceFigures": object_of(
        {
            "answered": COUNT,
            "failed": COUNT,
            "success": or_null(_NUMBER),
            "tokens": COUNT,
            "engine_restarts": COUNT,
            "time_to_first_token_s": _percentiles("p50", "p90", "p99"),
            "request_s": _percentiles("p50", "p90", "p99"),
            "tokens_per_second": _percentiles("p50", "p1"),
        }
    ),
    "Document": object_of({"openapi": TEXT, "info": {}, "paths": {}, "components": {}}),
}
