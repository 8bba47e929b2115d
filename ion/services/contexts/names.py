"""Names of tags and blobs."""

from __future__ import annotations


def fault_of(name: str, most: int) -> str:
    """Return what is wrong with the name of a tag or blob, or ""."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is no text in UTF-8"
    if not 0 < size <= most:
        return f"has {size} bytes: 1 to {most} are possible"
    if any(char < " " for char in name):
        return "has control characters"
    return ""


def plain(text: str) -> str:
    """Return a text that can be sent, and read: what of a file's name is no text is escaped."""
    escaped = text.encode("utf-8", "backslashreplace").decode()
    return "".join(char if char >= " " else f"\\x{ord(char):02x}" for char in escaped)
