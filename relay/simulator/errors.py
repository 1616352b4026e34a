"""What the simulator refuses, in OpenAI's words and shape: HTTP bodies and `error` events."""

from __future__ import annotations

from typing import Any


class RejectedError(Exception):
    """A request or client event that OpenAI would refuse.

    `status` matters to HTTP alone. `code` and `param` are None where OpenAI leaves them null.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type_: str = "invalid_request_error",
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.type = type_
        self.status = status

    def body(self) -> dict[str, Any]:
        """`{message, type, code, param}`: what stands under `error`."""
        return {
            "message": self.message,
            "type": self.type,
            "code": self.code,
            "param": self.param,
        }


def missing(param: str) -> RejectedError:
    return RejectedError(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )


def unknown(param: str) -> RejectedError:
    return RejectedError(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)


def invalid_value(param: str, value: str, supported: tuple[str, ...]) -> RejectedError:
    names = ", ".join(f"'{name}'" for name in supported)
    return RejectedError(
        f"Invalid value: '{value}'. Supported values are: {names}.",
        code="invalid_value",
        param=param,
    )


def invalid_type(param: str, expected: str) -> RejectedError:
    return RejectedError(
        f"Invalid type for '{param}': expected {expected}.", code="invalid_type", param=param
    )
