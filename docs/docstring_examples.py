"""Docstring examples as blocks of code on the API pages.

Markdown would read the `>>>` of an example as a quotation, and the `[2, 1]` below it as a link.
mkdocstrings loads this extension of Griffe (`extensions` in mkdocs.yml).
"""

from typing import Any

import griffe

PROMPT = ">>> "


def fenced(docstring: str) -> str:
    """The docstring with a fence around each example, from its first prompt to a blank line."""
    lines: list[str] = []
    fence = ""
    for line in docstring.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        if not fence and line.lstrip().startswith(PROMPT):
            fence = f"{indent}```"
            lines.append(f"{fence}pycon")
        elif fence and not line.strip():
            lines.append(fence)
            fence = ""
        lines.append(line)
    if fence:
        lines.append(fence)
    return "\n".join(lines)


class DocstringExamples(griffe.Extension):
    """Fence the examples of every docstring, except in a section `Examples:`, which Griffe reads
    by itself."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None and "Examples:" not in obj.docstring.value:
            obj.docstring.value = fenced(obj.docstring.value)
