"""Read the literal syntax of the original's app and rel files: a Python dict, with comments.

Contract: the text is parsed, never evaluated; only maps, lists, tuples, text, numbers, true,
false and null come out of it (also in JSON's spelling), all else is an error with its line.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from ion.base.builder import Builder, KeyPath

_JSON_WORDS = {"true": True, "false": False, "null": None}
_NOT_CLOSED = re.compile(r"does not match opening parenthesis ('.') on line (\d+)")
_LINE = re.compile(r"\bline (\d+)")
_BREAK = re.compile(r"\r\n?|\n")


def build_literal(text: str, builder: Builder) -> Any:
    """Return the data that ``text`` says.

    :raises ConfigurationError: it is no literal; the message names file and line.
    """
    # Inside parentheses indentation means nothing: some of the original's files begin with a blank.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes, which mean what they say
            node = ast.parse(f"(\n{text}\n)", mode="eval").body
    except SyntaxError as error:
        line, why = _told(error, len(_BREAK.findall(text.rstrip())) + 1)
        builder.fail(line, f"not a literal: {why}")
    except (ValueError, RecursionError, MemoryError) as error:
        builder.fail(1, f"not a literal: {str(error) or 'nested too deeply'}")
    return _value(node, (), builder)


def _told(error: SyntaxError, lines: int) -> tuple[int, str]:
    """Return the line, and what is wrong: of the text, not of the parentheses put around it."""
    line = (error.lineno or 2) - 1
    opened = _NOT_CLOSED.search(error.msg)
    if opened is not None and line > lines:  # it was our own ")" that did not match
        return int(opened[2]) - 1, f"{opened[1]} is never closed"
    if opened is None and line > lines and error.msg.startswith("unmatched"):
        return lines, "there is one ')' too many"  # somewhere above: it closed our own "("
    if opened is not None and opened[2] == "1":  # it was matched with our own "("
        return line, f"{error.msg.removesuffix(opened[0]).strip()} closes nothing"
    return line, _LINE.sub(lambda found: f"line {int(found[1]) - 1}", error.msg)


def _value(node: ast.expr, path: KeyPath, builder: Builder) -> Any:
    line = node.lineno - 1
    builder.count(line, path)
    if isinstance(node, ast.Dict):
        return _map(node, path, builder)
    if isinstance(node, ast.List):
        return [_value(item, (*path, i), builder) for i, item in enumerate(node.elts)]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item, (*path, i), builder) for i, item in enumerate(node.elts))
    return _scalar(node, path, builder)


def _map(node: ast.Dict, path: KeyPath, builder: Builder) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key_node, value_node in zip(node.keys, node.values, strict=True):
        if key_node is None:
            builder.fail(value_node.lineno - 1, "'**' is not data", path)
        key = _scalar(key_node, path, builder)
        inner = builder.put(result, key, path, key_node.lineno - 1)
        result[key] = _value(value_node, inner, builder)
    return result


def _scalar(node: ast.expr, path: KeyPath, builder: Builder) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    if isinstance(node, ast.Name) and node.id in _JSON_WORDS:
        return _JSON_WORDS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = node.operand
        if isinstance(number, ast.Constant) and type(number.value) in {int, float}:
            return -number.value  # type: ignore[operator]  # checked in the line above
    what = type(node).__name__
    if isinstance(node, ast.Name):
        what = f"name {node.id!r} (text needs quotes)"
    return builder.fail(node.lineno - 1, f"only literals are data here, not: {what}", path)
