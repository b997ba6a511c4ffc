"""The schemas of `money_objects`, for the OpenAPI document."""

from collections.abc import Mapping

from headrace.api.openapi_schemas import COUNT, TEXT, Schema, array_of, object_of, or_null, ref

_MICROS: Schema = {"type": "integer"}  # may be less than none
_COUNTS = {
    "input_tokens": COUNT,
    "output_tokens": COUNT,
    "input_cached_tokens": COUNT,
    "reasoning_tokens": COUNT,
    "num_model_requests": COUNT,
    "num_interrupted_requests": COUNT,
}


def _page(kind: str, result: Mapping[str, Schema]) -> Schema:
    line = object_of({"object": {"const": kind}, **result})
    bucket = object_of(
        {
            "object": {"const": "bucket"},
            "start_time": COUNT,
            "end_time": COUNT,
            "results": array_of(line),
        }
    )
    return object_of(
        {
            "object": {"const": "page"},
            "data": array_of(bucket),
            "has_more": {"type": "boolean"},
            "next_page": or_null(TEXT),
        }
    )


MONEY_SCHEMAS: Mapping[str, Schema] = {
    "UsagePage": _page(
        "organization.usage.completions.result",
        {
            **_COUNTS,
            "project_id": or_null(TEXT),
            "user_id": or_null(TEXT),
            "api_key_id": or_null(TEXT),
            "model": or_null(TEXT),
            "batch": {"type": "null"},
        },
    ),
    "CostsPage": _page(
        "organization.costs.result",
        {
            "amount": object_of({"value": {"type": "number"}, "currency": {"const": "usd"}}),
            "amount_micros": _MICROS,
            "project_id": or_null(TEXT),
            "api_key_id": or_null(TEXT),
            "line_item": or_null(TEXT),
        },
    ),
    "Statement": object_of(
        {
            "object": {"const": "organization.statement"},
            "id": TEXT,
            "organization_id": TEXT,
            "start_time": COUNT,
            "end_time": COUNT,
            "currency": {"const": "usd"},
            "opening_micros": _MICROS,
            "paid_micros": _MICROS,
            "usage_micros": _MICROS,
            "closing_micros": _MICROS,
            "lines": array_of(
                object_of(
                    {
                        "project_id": TEXT,
                        "api_key_id": TEXT,
                        "model": TEXT,
                        "price_version": TEXT,
                        **_COUNTS,
                        "micros": COUNT,
                    }
                )
            ),
        }
    ),
    "Credit": object_of(
        {
            "object": {"const": "organization.credit"},
            "organization_id": TEXT,
            "currency": {"const": "usd"},
            "balance_micros": _MICROS,
            "leased_micros": COUNT,
        }
    ),
    "CreditEntry": object_of(
        {
            "object": {"const": "organization.credit.entry"},
            "id": TEXT,
            "created_at": COUNT,
            "kind": {"enum": ["top_up", "grant", "correction"]},
            "amount_micros": _MICROS,
            "currency": {"const": "usd"},
            "reference": TEXT,
            "note": TEXT,
        }
    ),
    "Price": object_of(
        {
            "object": {"const": "organization.price"},
            "id": TEXT,
            "model": TEXT,
            "currency": {"const": "usd"},
            "input_micros": COUNT,
            "cached_input_micros": COUNT,
            "output_micros": COUNT,
            "valid_from": COUNT,
        }
    ),
    "KeyLimitsStanding": object_of(
        {
            "object": {"const": "organization.project.api_key.limits"},
            "id": TEXT,
            "tier": TEXT,
            "budget_micros": or_null(COUNT),
            "models": array_of(
                object_of({"model": TEXT, "limits": array_of(ref("LimitStanding"))})
            ),
            "refusals": array_of(
                object_of(
                    {
                        "refused_at": COUNT,
                        "model": TEXT,
                        "bucket": TEXT,
                        "whose": TEXT,
                        "limit": COUNT,
                        "used": COUNT,
                        "requested": COUNT,
                        "wait_s": {"type": "number"},
                    }
                )
            ),
        }
    ),
    "LimitStanding": object_of(
        {
            "name": TEXT,
            "whose": TEXT,
            "limit": COUNT,
            "used": COUNT,
            "remaining": COUNT,
            "reset_s": {"type": "number"},
        }
    ),
}
