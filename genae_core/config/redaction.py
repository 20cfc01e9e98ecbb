"""Texts without secrets: whatever genae prints, logs or stores passes through here first."""

import re
from typing import Any

HIDDEN = "***"
# The password of a URI reaches to the last "@" of the word, since it may hold any other sign.
# A URI that was taken for a local path has lost one of its slashes.
_PASSWORD = re.compile(r"(:/+[^/@:\s\[]*):\S+@")
_PASSWORD_OF_ONE_URI = re.compile(r"(:/+[^/@:\s\[]*):.+@", re.DOTALL)
# A value in the query of a URI, such as ?password=...&sslmode=require or &X-Amz-Signature=...
_QUERY_SECRET = re.compile(
    r"([?&;][^=&;\s]*(?:passw(?:or)?d|pwd|secret|token|credentials?|signature|sig|key)=)[^&;#\s]+",
    re.IGNORECASE,
)

# The fields of genae's configs that hold a path or a URI, which may be relative.
PLACES = ("root", "finished", "checkpoint")
_PATH = re.compile(
    r"(?:^|[\s=,;'\"(\[])(?:~?/\S|~\w*$|\.\.?/|[A-Za-z]:\\|file:|[A-Za-z][A-Za-z0-9+.-]*://)"
)


def redact(text: str) -> str:
    """Replace the secrets of all URIs in the text.

    Args:
        text: Any text, such as an error message.

    Returns:
        The text with `***` in place of each password, and of each value in a query whose name
        says that it is a secret.

    Example:
        >>> redact("s3://KEY:SECRET@bucket/images is not there")
        's3://KEY:***@bucket/images is not there'
        >>> redact("postgresql://host/db?user=me&password=hunter2")
        'postgresql://host/db?user=me&password=***'
    """
    return _QUERY_SECRET.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}@", text))


def redact_uri(uri: str) -> str:
    """Replace the secrets of one URI, which may hold spaces that do not belong there."""
    return redact(_PASSWORD_OF_ONE_URI.sub(rf"\1:{HIDDEN}@", uri))


def redact_values(value: Any) -> Any:
    """Copy dicts, lists and primitives, with every text redacted as one URI."""
    if isinstance(value, dict):
        return {name: redact_values(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [redact_values(inner) for inner in value]
    return redact_uri(value) if isinstance(value, str) else value


def hide_places(value: Any, name: str = "") -> tuple[Any, list[str]]:
    """Copy dicts, lists and primitives, with `***` in place of every path and URI.

    What a person publishes must not say where their files lie: a path holds the names of users and
    of projects. A text is hidden if one of its words begins like a path or a URI, or if it is in a
    field that names a place (`root`, `finished`, `checkpoint`).

    Args:
        value: JSON values.
        name: The name of the value, for the second result.

    Returns:
        The copy, and the dotted name of each value that is hidden.

    Example:
        >>> hide_places({"data": {"root": "images", "size": 64}, "widths": [16, "s3://b/x"]})
        ({'data': {'root': '***', 'size': 64}, 'widths': [16, '***']}, ['data.root', 'widths.1'])
    """
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        copies, hidden = {}, []
        for key, inner in items:
            copies[key], names = hide_places(inner, f"{name}.{key}" if name else str(key))
            hidden += names
        return (copies if isinstance(value, dict) else list(copies.values())), hidden
    if isinstance(value, str) and (name.split(".")[-1] in PLACES or _PATH.search(value)):
        return HIDDEN, [name]
    return value, []


def is_redacted(uri: str) -> bool:
    """Return whether the password of the URI was replaced when it was stored."""
    return f":{HIDDEN}@" in uri


def drop_redacted_login(uri: str) -> str:
    """Remove the user and the password if the password is not known any more.

    The library that opens the URI then looks for credentials in the environment.
    """
    return re.sub(rf"://[^/@]*:{re.escape(HIDDEN)}@", "://", uri)
