"""Tables in Markdown, and stored configs in words."""

from collections.abc import Iterator, Sequence
from typing import Any


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, whose first row is the head."""
    lines = ["| " + " | ".join(_cell(text) for text in row) + " |" for row in rows]
    rule = "| " + " | ".join("---" for _ in rows[0]) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(text: str) -> str:
    """A text that does not end the cell of a table, nor begins anything in Markdown."""
    text = " ".join(text.split()).replace("\\", "\\\\")
    for special in "|<*`[":
        text = text.replace(special, f"\\{special}")
    return text


def config_words(values: dict[str, Any]) -> str:
    """A config's JSON values in words: "encode decode (corrupt=True, decode=mean)"."""
    name = str(values.get("config", "")).split(".")[-1].replace("_", " ")
    plain = (v for v in values.items() if v[0] != "config" and not isinstance(v[1], dict | list))
    settings = ", ".join(f"{key}={value}" for key, value in plain)
    return f"{name} ({settings})" if settings else name


def setting_rows(name: str, value: Any) -> Iterator[list[str]]:
    """The rows of a JSON value: one for each primitive, and one for a list of primitives."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from setting_rows(name if key == "config" else f"{name}.{key}", inner)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for position, item in enumerate(value):
            yield from setting_rows(f"{name}.{position}", item)
    else:
        yield [name, str(value)]
