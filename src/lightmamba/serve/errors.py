"""Refusals in the form that OpenAI's clients understand."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from lightmamba.common.errors import InputError, shown

__all__ = ["BUSY", "ApiError", "JsonResponse", "dumped", "invalid", "stopping"]

BUSY = 429  # the status of a server that has enough to do
KINDS = {401: "authentication_error", 403: "permission_error", BUSY: "rate_limit_error"}
# Sentences for the types of pydantic's errors, with the fields of their context.
SENTENCES = {
    "bool_type": "must be true or false", "float_type": "must be a number",
    "int_type": "must be a whole number", "string_type": "must be a text",
    "list_type": "must be a list", "model_attributes_type": "must be an object",
    "model_type": "must be an object", "none_required": "must be null",
    "finite_number": "must be a finite number", "literal_error": "must be {expected}",
    "greater_than": "must be above {gt:g}", "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}", "less_than_equal": "must be at most {le:g}",
    "too_long": "has {actual_length} entries, and may have {max_length}",
    "too_short": "is an empty list; give at least one entry",
}  # fmt: skip
COUNTED = ("too_long", "too_short")  # their sentences do not show the value
dumped = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class ApiError(Exception):
    """A request that is refused or failed: a status and one sentence.

    Parameters
    ----------
    status
        Of HTTP.
    message
        One sentence: what is wrong and what would be right.
    kind
        OpenAI's ``type``; by default that of the status.
    code, param
        OpenAI's; a word for programs, and the parameter that is wrong.
    headers
        Of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        usual = "server_error" if status >= 500 else "invalid_request_error"
        self.kind = kind or KINDS.get(status, usual)
        self.code, self.param, self.headers = code, param, dict(headers or {})

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        error = {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }  # fmt: skip
        return {"error": error}

    def response(self) -> "JsonResponse":
        """Response with this error."""
        return JsonResponse(self.body(), self.status, self.headers)


class JsonResponse(Response):
    """JSON in ASCII: text of others may hold halves of characters, which UTF-8 has no bytes for."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of a value."""
        return dumped(content).encode("ascii")


def stopping() -> ApiError:
    """The server is stopping."""
    return ApiError(
        503,
        "the server is stopping and takes no new requests; try again when it is back",
        code="stopping",
        headers={"Retry-After": "10"},
    )


def invalid(errors: Sequence[Any]) -> ApiError:
    """The first thing that is wrong with a body, as one sentence.

    Parameters
    ----------
    errors
        As pydantic reports them.
    """
    found: dict[str, Any] = min(errors, key=_rank)
    place = [str(part) for part in found["loc"][1:] if _is_name(part)]
    name, kind = ".".join(place), found["type"]
    if kind == "json_invalid":
        return ApiError(400, 'the body is not JSON; send for example {"prompt": "It was a"}')
    if not place and kind in ("missing", "model_attributes_type", "dict_type"):
        return ApiError(400, f"the body must be a JSON object, not {shown(found.get('input'))}")
    if kind == "extra_forbidden":
        message = f"{shown(name)} is not a parameter of this server; leave it out"
    elif kind == "missing":
        message = f"{name} is missing"
    elif kind == "value_error":
        message = str(found["msg"]).removeprefix("Value error, ")
    else:
        said = str(found["msg"])
        if kind in SENTENCES:
            said = SENTENCES[kind].format(**found.get("ctx", {}))
        message = f"{name} {said[0].lower()}{said[1:]}"
        if kind not in COUNTED:
            message += f", not {shown(found.get('input'))}"
    return ApiError(400, str(InputError(message)), param=shown(name)[1:-1] if name else None)


def _rank(error: Any) -> tuple[bool, int]:
    """Rank of an error where a value may have several types: errors inside the type come first."""
    return error["type"] in ("string_type", "list_type", "int_type"), -len(error["loc"])


def _is_name(part: Any) -> bool:
    """Whether a part of a place is the body's, not the name of one of several types."""
    return isinstance(part, int) or (str(part).isidentifier() and str(part) not in ("str",))
