"""Read a file as data, and know the line of every key.

Two syntaxes: YAML, and the literal syntax of the original's app and rel files. Nothing is ever
evaluated. Contract: whatever the bytes, the result is data or a ConfigurationError with file and
line; size, depth and number of values are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ion.base.builder import Builder, KeyPath, dotted
from ion.base.files import read_file
from ion.base.findings import Finding, error_of

MAX_BYTES = 1_048_576

# A brace, and then no bare word: that would be a key of a YAML map in braces.
_LITERAL = re.compile(r"(?:\s|#[^\n]*\n)*+\{(?:\s|#[^\n]*(?:\n|\Z))*+(?![A-Za-z_])")


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says.

    :param name: the file, as shown in messages.
    :param data: maps, lists (tuples in the literal syntax), text, numbers, true and false, null.
    :param lines: the line of each key and list element, counted from 1.
    :param texts: how each number was written, where it stood without quotes (YAML only).
    """

    name: str
    data: Any
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    texts: Mapping[KeyPath, str] = field(default_factory=dict)

    def line_of(self, path: KeyPath) -> int:
        """Return the line of what stands at ``path``, or of the nearest thing around it."""
        for length in range(len(path), -1, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return line
        return 1

    def with_texts(self, data: Any, path: KeyPath, *keys: str) -> Any:
        """Return the map ``data`` with the values of ``keys`` as text, as they were written.

        For versions: to YAML, ``0.10`` is the number 0.1.
        """
        if not isinstance(data, Mapping):
            return data
        texts = {key: self.texts[*path, key] for key in keys if (*path, key) in self.texts}
        return {**data, **texts}

    def finding(self, path: KeyPath, message: str, severity: str = "error") -> Finding:
        """Return a finding about what stands at ``path``."""
        key = dotted(path) or None
        return Finding(message, self.name, self.line_of(path), key, severity)


def read(path: Path | str, *, patience: float | None = None) -> Document:
    """Read a file: ``.app`` and ``.rel`` in either syntax, all else as YAML.

    :param patience: seconds that a pipe may take; None: it must be a regular file.
    :raises ConfigurationError: it cannot be read, or is not what it should be.
    """
    path = Path(path)
    try:
        content = read_file(path, MAX_BYTES + 1, patience=patience)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise error_of([Finding(f"cannot be read: {reason}", str(path))]) from None
    return parse(content, str(path), either=path.suffix in {".app", ".rel"})


def parse(content: bytes | str, name: str, *, either: bool = False) -> Document:
    """Read ``content`` as data.

    :param name: of the file, for messages.
    :param either: take content that begins with ``{`` and a quote as a literal (blanks and comments
        may stand between).
    :raises ConfigurationError: it is not what it should be; file and line are in the message.
    """
    builder = Builder(name)
    size = len(content)
    if size > MAX_BYTES:
        builder.fail(1, f"larger than {MAX_BYTES} bytes")
    text = _decoded(content, builder) if isinstance(content, bytes) else content
    if either and _begins_as_literal(text):
        from ion.base.literal import build_literal as build
    else:
        from ion.base.yamlreader import build_yaml as build
    return Document(name, build(text, builder), builder.lines, builder.texts)


def _decoded(content: bytes, builder: Builder) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        builder.fail(line, f"not UTF-8 text (byte 0x{content[error.start]:02x})")


def _begins_as_literal(text: str) -> bool:
    return _LITERAL.match(text) is not None
