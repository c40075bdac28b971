"""For the API reference: arguments that docstrings describe together ("video, device: ...") become one each."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_TOGETHER = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+): (?P<text>.*(?:\n(?P=indent) +.*)*)", re.M)


class SplitArguments(Extension):
    """Called by griffe for everything that it reads."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring before it is parsed."""
        if obj.is_function and obj.docstring is not None:
            obj.docstring.value = split(obj.docstring.value)


def split(docstring: str) -> str:
    """One line for each argument: the first with the text, the others point to it.

    >>> split("Args:\\n    a, b: both.\\n    c: one.")
    'Args:\\n    a: both.\\n    b: see `a`.\\n    c: one.'
    """
    head, mark, arguments = docstring.partition("Args:\n")
    if not mark:
        return docstring
    inside, blank, rest = arguments.partition("\n\n")

    def lines(found: re.Match[str]) -> str:
        first, *others = found["names"].split(", ")
        indent = found["indent"]
        return "\n".join([f"{indent}{first}: {found['text']}", *(f"{indent}{name}: see `{first}`." for name in others)])

    return head + mark + _TOGETHER.sub(lines, inside) + blank + rest
