"""How answers are put on the wire: their content type, and failures that can always be sent."""

from __future__ import annotations

from typing import Any

from ion.base.errors import CodecError, IonError
from ion.messaging import codec
from ion.messaging.envelope import JSON, MSGPACK

MIN_CODE, MAX_CODE = 100, 999
RETRY_AFTER = "retry-after"  # seconds
MAX_RETRY_AFTER = 1e9


def code_of(error: IonError) -> int:
    """Return the code to answer with: that of the error's class where its own is no code."""
    if isinstance(error.code, int) and MIN_CODE <= error.code <= MAX_CODE:
        return int(error.code)
    return type(error).default_code


def plain_failure(error: IonError, code: int) -> dict[str, Any]:
    """Return the content of a failure in a form that can always be sent."""
    details = {"repr": plain_text(error.details, 1000)} if error.details else {}
    return {
        "code": code,
        "type": plain_text(error.type, 100),
        "message": plain_text(error.message, 4000),
        "details": details,
    }


def advice(failure: Any) -> dict[str, Any]:
    """Return the headers that repeat what a failure's details advise: they need no decoding."""
    details = failure.get("details") if isinstance(failure, dict) else None
    after = details.get(RETRY_AFTER) if isinstance(details, dict) else None
    if isinstance(after, int | float) and 0 <= after <= MAX_RETRY_AFTER:
        return {RETRY_AFTER: float(after)}
    return {}


def plain_text(value: Any, limit: int) -> str:
    """Return a text for any value, of at most ``limit`` characters, that can be encoded."""
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:  # noqa: BLE001 - whatever a foreign ``__str__`` raises: the answer must go
        text = f"<{type(value).__name__} without a text>"
    return text[:limit].encode("utf-8", "backslashreplace").decode()


def encode_answer(content: Any, content_type: str, *, failed: bool) -> tuple[bytes, str]:
    """Encode in the request's content type; failures to a protobuf caller go in msgpack.

    A request in a content type that nobody reads is answered in JSON.

    :raises CodecError: the content cannot be encoded.
    """
    if content_type == MSGPACK or not content_type:
        return codec.msgpack_codec.encode(content, MSGPACK)
    try:
        chosen = codec.codec_for(content_type)
    except CodecError:
        return codec.json_codec.encode(content, JSON)
    if failed and chosen not in (codec.json_codec, codec.msgpack_codec):
        return codec.msgpack_codec.encode(content, MSGPACK)
    return chosen.encode(content, content_type)
