"""Whether the server of an object store answers, asked once before pyarrow tries for minutes."""

import functools
import os
from urllib.parse import parse_qs, urlsplit

from genae_core.config.network import check_url
from genae_core.config.redaction import redact_uri

GOOGLE = "https://storage.googleapis.com"
# AWS has other domains in regions that begin with these letters.
OTHER_DOMAINS = ("cn-", "us-iso", "eusc-")


def check_endpoint(uri: str) -> None:
    """Check that the server behind a URI answers.

    Args:
        uri: The URI of a folder on an object store.

    Raises:
        ConnectionError: It does not answer within some seconds.
        ValueError: The address of the server has no host.
    """
    endpoint = endpoint_of(uri)
    if endpoint is None:
        return
    if urlsplit(endpoint).hostname is None:
        raise ValueError(f"the object store's address {redact_uri(endpoint)!r} names no server")
    try:
        _ask_once(endpoint)
    except ConnectionError as error:
        raise ConnectionError(f"{redact_uri(uri)}: the object store: {error}") from None


def endpoint_of(uri: str) -> str | None:
    """The address of the server behind a URI; None if it is not known before the store is opened.

    Args:
        uri: The URI, whose option endpoint_override may name a server.
    """
    scheme = uri.partition("://")[0].lower()
    options = parse_qs(uri.rpartition("?")[2]) if "?" in uri else {}
    override = options.get("endpoint_override", [""])[0]
    if override:
        protocol = options.get("scheme", ["https"])[0]
        return override if "://" in override else f"{protocol}://{override}"
    if scheme in ("gs", "gcs"):
        return GOOGLE
    if scheme != "s3":
        return None
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if os.environ.get(name):
            return os.environ[name]
    region = options.get("region", [""])[0] or os.environ.get("AWS_DEFAULT_REGION", "")
    region = os.environ.get("AWS_REGION") or region
    if not region or region.startswith(OTHER_DOMAINS):
        return None
    return f"https://s3.{region}.amazonaws.com"


@functools.cache
def _ask_once(endpoint: str) -> None:
    """Ask the server. A failure is not remembered."""
    check_url(endpoint, use_proxies=False)  # pyarrow does not use them either
