"""Errors become HTTP here and nowhere else: status, headers, and a body both kinds of client read.

Some clients read the nested error object, some the flat one; all of them want strings.
"""

import logging
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from headrace.api.answers import JsonResponse
from headrace.errors import (
    CapacityError,
    ConfigError,
    Conflict,
    EngineError,
    Forbidden,
    HeadraceError,
    InsufficientCredit,
    InvalidRequest,
    MethodNotAllowed,
    QueueSlow,
    RateLimited,
    RequestError,
    RequestTimeout,
    RequestTooLarge,
    TooManyAttempts,
    Unauthenticated,
    UnknownModel,
    UnknownObject,
    UnknownPath,
    UnsupportedMediaType,
)
from headrace.telemetry.logs import Event

logger = logging.getLogger("headrace.api")

# The nearest class of an error's ancestry decides.
STATUS: Mapping[type[HeadraceError], int] = {
    HeadraceError: 500,
    RequestError: 400,
    InvalidRequest: 400,
    Unauthenticated: 401,
    InsufficientCredit: 402,
    Forbidden: 403,
    UnknownModel: 404,
    UnknownObject: 404,
    UnknownPath: 404,
    MethodNotAllowed: 405,
    Conflict: 409,
    RequestTimeout: 408,
    RequestTooLarge: 413,
    UnsupportedMediaType: 415,
    QueueSlow: 429,
    RateLimited: 429,
    TooManyAttempts: 429,
    CapacityError: 503,
    EngineError: 500,
    ConfigError: 500,
}

_LONGEST_RETRY_S = 60  # clients ignore a longer retry-after and retry at once, unless told not to


def status_of(error: HeadraceError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def body_of(error: HeadraceError, request_id: str) -> dict[str, Any]:
    """The JSON body of an error, flat and nested, all strings; `rate_limit` has a limit's numbers.

    Of our own failures the caller learns the request id and nothing else: the log has the rest.
    """
    message = str(error)
    if status_of(error) == 500:
        message = f"The server failed on this request. Quote the id {request_id} to report it."
    fields: dict[str, Any] = {
        "message": message,
        "type": error.kind,
        "param": error.param,
        "code": error.code,
    }
    if isinstance(error, RateLimited):
        fields["rate_limit"] = error.facts
    return {**fields, "error": fields}


def headers_of(error: HeadraceError) -> dict[str, str]:
    """The headers that go with an error."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allowed
    if isinstance(error, Conflict) and error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    elif isinstance(error, InsufficientCredit | Conflict):
        headers["x-should-retry"] = "false"
    if isinstance(error, CapacityError):
        headers["retry-after"] = str(max(1, error.retry_after_s))
        if error.retry_after_s > _LONGEST_RETRY_S:
            headers["x-should-retry"] = "false"
    return headers


def as_ours(error: Exception) -> HeadraceError:
    """`error` itself if it is ours, or an internal error in its place."""
    if isinstance(error, HeadraceError):
        return error
    return HeadraceError("internal error")


async def send_problem(exc: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error; log it with its trace if it is our fault."""
    error = as_ours(exc)
    request_id = scope["state"]["request_id"]
    status = status_of(error)
    if status == 500:
        logger.error(Event("failed", id=request_id, path=scope["path"]), exc_info=exc)
    scope["state"]["log"]["code"] = error.code
    if isinstance(error, RateLimited):
        scope["state"]["log"]["bucket"] = error.facts["bucket"]
    response = JsonResponse(body_of(error, request_id), status, headers=headers_of(error))
    await response(scope, receive, send)
