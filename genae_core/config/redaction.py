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


def is_redacted(uri: str) -> bool:
    """Return whether the password of the URI was replaced when it was stored."""
    return f":{HIDDEN}@" in uri


def drop_redacted_login(uri: str) -> str:
    """Remove the user and the password if the password is not known any more.

    The library that opens the URI then looks for credentials in the environment.
    """
    return re.sub(rf"://[^/@]*:{re.escape(HIDDEN)}@", "://", uri)
