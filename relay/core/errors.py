"""Errors named by the caller's situation; `relay.web.problems` alone turns them into HTTP."""

from __future__ import annotations


class RelayError(Exception):
    """What a caller did wrong, or what the relay could not do for it.

    `code` is the machine-readable name on the wire, `param` the field at fault, if there is one.
    """

    code = "relay_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class InvalidRequest(RelayError):
    """The request does not mean anything (400)."""

    code = "invalid_request"


class InvalidOffer(InvalidRequest):
    """The SDP offer cannot be parsed or used (400). OpenAI's own code for it."""

    code = "invalid_offer"


class Unauthenticated(RelayError):
    """No credential, or one that is unknown, forged or expired (401)."""

    code = "invalid_api_key"


class Forbidden(RelayError):
    """A valid credential that may not do this (403)."""

    code = "forbidden"


class NotFound(RelayError):
    """No such thing, or not this caller's (404): the two are told apart by nobody."""

    code = "not_found"


class BodyTooLarge(RelayError):
    """The body is over `http.max_body_bytes` (413)."""

    code = "body_too_large"


class BodyTimeout(RelayError):
    """The body did not end in time (408)."""

    code = "body_timeout"


class UnsupportedMediaType(RelayError):
    """The content type is none that this path takes (415); `accept_patch` is what PATCH takes."""

    code = "unsupported_media_type"

    def __init__(
        self, message: str, *, param: str | None = None, accept_patch: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.accept_patch = accept_patch


class Conflict(RelayError):
    """The thing is there, and not in a state for this (409)."""

    code = "conflict"


class PreconditionFailed(RelayError):
    """`If-Match` names an ICE session that is over (412)."""

    code = "precondition_failed"


class PreconditionRequired(RelayError):
    """The request needs `If-Match` (428)."""

    code = "precondition_required"


class RateLimited(RelayError):
    """Too many calls for this key or address (429)."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(RelayError):
    """The server is full or draining (503)."""

    code = "server_overloaded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreUnavailable(RelayError):
    """What is stored cannot be asked for now (503); `retry_after_s` None: nor by waiting."""

    code = "store_unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UpstreamRefused(RelayError):
    """The upstream answered with an error: its status and body are passed on as they came."""

    code = "upstream_refused"

    def __init__(
        self, status: int, body: bytes, content_type: str, retry_after: str | None
    ) -> None:
        super().__init__(f"The upstream refused the call with status {status}.")
        self.status = status
        self.body = body
        self.content_type = content_type
        self.retry_after = retry_after


class UpstreamUnreachable(RelayError):
    """The upstream could not be reached (502)."""

    code = "upstream_unreachable"


class UpstreamInvalid(RelayError):
    """The upstream answered with something that is not an SDP answer (502)."""

    code = "upstream_invalid"


class UpstreamTimeout(RelayError):
    """The upstream did not answer in time (504)."""

    code = "upstream_timeout"
