"""Every error Headrace raises. Codes live here; `api.problems` alone knows HTTP.

HeadraceError
├── RequestError            the caller must change the request
│   ├── InvalidRequest ── ContextTooLong, GrammarTooComplex, InvalidJson, RequestTooLarge,
│   │                     UnsupportedMediaType
│   ├── Unauthenticated ── MissingKey, WrongLogin, NoSession
│   ├── InsufficientCredit, Forbidden
│   ├── UnknownModel, UnknownObject, Conflict
│   ├── UnknownPath, MethodNotAllowed
│   └── RequestTimeout ── DeadlineExceeded
├── CapacityError           passing: QueueFull, QueueSlow, Draining, EngineRestarting, StoreError,
│                           TooManyAttempts, LoginsBusy, RateLimited
├── EngineError             our fault: BackendError, EngineDied, KernelMissing
└── ConfigError             wrong settings or files, found at start: CheckpointError, PlacementError
                            (OutOfSram, OutOfColours, DeadlockError)
"""

import math

_LONGEST_WAIT_S = 366 * 86_400  # that is told: longer is for ever


class HeadraceError(Exception):
    """Base of all of ours. `kind` and `code` go on the wire; `param` names the offending field."""

    kind = "server_error"
    code = "internal_error"
    param = ""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        if param is not None:
            self.param = param


class RequestError(HeadraceError):
    """The caller must change the request."""

    kind = "invalid_request_error"
    code = "wrong_api_format"


class InvalidRequest(RequestError):
    """A field is missing, malformed, out of range or not offered."""

    param = "validation_error"


class InvalidJson(InvalidRequest):
    """The body is not JSON as RFC 8259 has it (NaN is not), or nests too deeply."""

    code = "invalid_json"
    param = "body"


class RequestTooLarge(InvalidRequest):
    """The body is over the limit."""

    code = "request_too_large"
    param = "body"


class UnsupportedMediaType(InvalidRequest):
    """The body is of a type or encoding we do not read."""

    code = "unsupported_media_type"
    param = "content_type"


class GrammarTooComplex(InvalidRequest):
    """A schema or grammar takes too long, or too much memory, to compile."""

    code = "schema_too_complex"
    param = "response_format"


class ContextTooLong(InvalidRequest):
    """The prompt leaves no room in the model's context."""

    code = "context_length_exceeded"
    param = "messages"

    def __init__(self, prompt_tokens: int, max_tokens: int, *, param: str | None = None) -> None:
        # litellm recognises context errors by "Current length is" and "while limit is".
        super().__init__(
            "Please reduce the length of the messages or completion. "
            f"Current length is {prompt_tokens} while limit is {max_tokens}",
            param=param,
        )
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens


class Unauthenticated(RequestError):
    """The API key is unknown, malformed or revoked."""

    code = "wrong_api_key"
    param = "api_key"

    def __init__(self, message: str = "Wrong API Key. Incorrect API key provided.") -> None:
        super().__init__(message)


class MissingKey(Unauthenticated):
    """No `Authorization: Bearer` header came with the request."""

    code = "missing_api_key"

    def __init__(self) -> None:
        super().__init__(
            "No API key provided: send the header 'Authorization: Bearer <key>'. "
            "Create a key with `headrace keys create --tier free --name NAME`."
        )


class WrongLogin(Unauthenticated):
    """No user has this e-mail address and this password; which of the two is wrong is not said."""

    code = "wrong_login"
    param = "password"

    def __init__(self, message: str = "Wrong e-mail address or password.") -> None:
        super().__init__(message)


class NoSession(Unauthenticated):
    """Neither a session nor a key came with a request that needs one, or the session has ended."""

    code = "no_session"
    param = "session"

    def __init__(self) -> None:
        super().__init__("Log in, or send a management key as 'Authorization: Bearer <key>'.")


class Forbidden(RequestError):
    """The caller is known, or needs no key, but may not do this from where it asks."""

    kind = "permission_error"
    code = "permission_denied"
    param = "origin"


class Conflict(RequestError):
    """The same request came before. `retry_after_s`: it may be over then; None: it is."""

    kind = "conflict_error"
    code = "conflict"
    param = "idempotency-key"

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnknownModel(RequestError):
    """No such model here."""

    kind = "not_found_error"
    code = "model_not_found"
    param = "model"

    def __init__(self, model: str) -> None:
        super().__init__(f"Model {model} does not exist or you do not have access to it.")


class UnknownObject(RequestError):
    """The caller's organisation has nothing of this id; somebody else's is no different."""

    kind = "not_found_error"
    code = "not_found"
    param = "id"

    def __init__(self, kind: str) -> None:
        super().__init__(f"There is no such {kind} in your organisation.")


class UnknownPath(RequestError):
    """No such route."""

    kind = "not_found_error"
    code = "not_found"
    param = "path"


class MethodNotAllowed(RequestError):
    """The route exists, with other methods."""

    code = "method_not_allowed"
    param = "method"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This address takes {allowed} only.")
        self.allowed = allowed


class InsufficientCredit(RequestError):
    """The organisation's credit does not pay for this request, or a key's budget is spent."""

    kind = "payment_required_error"
    code = "payment_required"
    param = "quota"


class RequestTimeout(RequestError):
    """The request's body did not arrive in time."""

    kind = "timeout_error"
    code = "request_timeout"
    param = "body"


class DeadlineExceeded(RequestTimeout):
    """The request took longer than it may; the time in the queue counts."""

    param = "timeout"


class CapacityError(HeadraceError):
    """Ours, and passing: try again after `retry_after_s` seconds."""

    kind = "service_unavailable_error"
    code = "service_unavailable"
    retry_after_s = 1

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message, param=param)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class QueueFull(CapacityError):
    """Too many requests wait already."""

    code = "queue_exceeded"
    param = "queue"


class QueueSlow(CapacityError):
    """Requests wait longer now than this one would have it."""

    kind = "too_many_requests_error"
    code = "queue_exceeded"
    param = "queue"


class RateLimited(CapacityError):
    """A limit of the caller's is used up. Says which, how far, and for how long."""

    param = "quota"

    def __init__(
        self,
        *,
        bucket: str,
        whose: str,
        limit: int,
        used: int,
        requested: int,
        wait_s: float,
        unit: str,
    ) -> None:
        """`bucket`: "tokens per minute"; `whose`: "organisation" or "key"."""
        self.kind = f"too_many_{unit}_error"
        self.code = "token_quota_exceeded" if unit == "tokens" else "request_quota_exceeded"
        self.whose = whose
        self.wait_s = wait_s
        self.facts: dict[str, str | int | float] = {
            "bucket": bucket,
            "whose": whose,
            "limit": limit,
            "used": used,
            "requested": requested,
            "wait_s": math.ceil(wait_s * 1e3) / 1e3,
        }
        super().__init__(
            f"{bucket[:1].upper()}{bucket[1:]} limit exceeded - too many {unit}. The {whose}'s "
            f"limit is {limit:,}: {used:,} used, {requested:,} requested; try again in "
            f"{_seconds(wait_s)}.",
            retry_after_s=min(math.ceil(wait_s), _LONGEST_WAIT_S),
        )


class EndpointFailed(CapacityError):
    """A server that ours asked did not answer as it should."""

    code = "endpoint_failed"
    param = "machine"


class Draining(CapacityError):
    """The server is starting or stopping and takes no new work."""


class EngineRestarting(CapacityError):
    """The engine ended and the next one is not there yet."""

    code = "engine_restarting"


class StoreError(CapacityError):
    """The database does not answer."""

    param = "store"


class TooManyAttempts(CapacityError):
    """Too many wrong keys or log-ins came from one address, or for one account."""

    kind = "too_many_requests_error"
    code = "too_many_attempts"
    param = "authentication"


class LoginsBusy(CapacityError):
    """As many passwords wait to be checked as may."""

    param = "password"


class EngineError(HeadraceError):
    """Our fault."""


class EngineDied(EngineError):
    """The engine's process ended in the middle of the work."""

    code = "engine_died"


class BackendError(EngineError):
    """A backend failed while it ran a step."""


class KernelMissing(EngineError):
    """A backend cannot run here; the message names the fix."""


class ConfigError(HeadraceError):
    """Wrong settings, files or ports, found at start: one sentence that names the culprit."""

    code = "config_error"


class CheckpointError(ConfigError):
    """A model folder is missing, broken or of an unknown kind."""


class PlacementError(ConfigError):
    """A program does not fit a machine; the message has the reason."""


class OutOfSram(PlacementError):
    """Too few bytes a core. `missing_bytes` is over all cores of the mesh."""

    def __init__(self, message: str, missing_bytes: int) -> None:
        super().__init__(message)
        self.missing_bytes = missing_bytes


class DeadlockError(PlacementError):
    """Cores of a simulated machine wait for words that nobody sends."""


class OutOfColours(PlacementError):
    """Too few static routes a router."""


def _seconds(wait_s: float) -> str:
    return f"{wait_s:.3g} s" if wait_s < 100 else f"{min(math.ceil(wait_s), _LONGEST_WAIT_S):,} s"
