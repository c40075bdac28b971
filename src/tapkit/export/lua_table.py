"""Tables as Fusion writes them to .setting and .comp files: literals of Lua with constructors, `Input { Value = 1 }`.

Nothing is run: the text is read as data, and anything that is no literal is an error.
"""

from __future__ import annotations

import re
from typing import Any

_TOKEN = re.compile(
    r"""\s+|--\[\[.*?\]\]|--[^\n]*"""
    r"""|(?P<text>"(?:[^"\\]|\\.)*"|\[\[.*?\]\])"""
    r"""|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"""
    r"""|(?P<name>[A-Za-z_]\w*)|(?P<mark>[{}\[\]=,;()])""",
    re.DOTALL,
)
KIND = "__kind"
"""Under this key a table has the name that stands before its brace (Tracker, Input, ...), if one does."""
_WORDS = {"true": True, "false": False, "nil": None}


def parse(text: str) -> dict[Any, Any]:
    """The table that a text is: names and bracketed keys to values, other values under 1, 2, ...

    Raises ValueError for what is no table.

    >>> parse('{ A = Input { Value = { 0.5, -1 }, }, [3] = "x" }')
    {'A': {'__kind': 'Input', 'Value': {1: 0.5, 2: -1.0}}, 3: 'x'}
    """
    tokens = _tokens(text)
    stack: list[tuple[dict[Any, Any], Any]] = []  # the tables around, and under which key the inner one belongs
    table: dict[Any, Any] = {}
    key: Any = None
    at = 0
    while at < len(tokens):
        kind, token = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else None
        at += 1
        if kind == "name" and following == "=":
            key, at = token, at + 1
        elif (kind, token) == ("mark", "["):
            key = tokens[at][1]
            if [mark for _, mark in tokens[at + 1 : at + 3]] != ["]", "="]:
                raise ValueError(f"a key {key!r} without its value")
            at += 3
        elif token == "{" and kind == "mark":
            stack.append((table, key))
            table, key = {}, None
        elif token == "}" and kind == "mark":
            if not stack:
                raise ValueError("a brace too many")
            inner = table
            table, key = stack.pop()
            _put(table, key, inner)
            key = None
        elif kind == "name" and following in ("{", "("):
            at += 3 if following == "(" else 1  # ordered() {
            stack.append((table, key))
            table, key = {KIND: token}, None
        elif kind in ("text", "number", "name"):
            _put(table, key, _WORDS.get(token, token) if kind == "name" else token)
            key = None
    if stack:
        raise ValueError("a brace is never closed")
    if len(table) != 1 or not isinstance(table.get(1), dict):
        raise ValueError("it is no table in braces")
    return dict(table[1])


def _put(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Put a value under its key, without one at the next free place."""
    if key is None:
        key = 1 + sum(isinstance(name, int) for name in table)
    elif isinstance(key, float) and key == int(key):
        key = int(key)
    table[key] = value


def _tokens(text: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"unexpected {text[at : at + 20]!r}")
        at = match.end()
        if match["number"]:
            found.append(("number", float(match["number"])))
        elif match["text"]:
            quoted = match["text"][0] == '"'
            found.append(("text", re.sub(r"\\(.)", r"\1", match["text"][1:-1]) if quoted else match["text"][2:-2]))
        elif match.lastgroup:
            found.append((match.lastgroup, match[match.lastgroup]))
    return found
