"""Short questions to an address, before a library waits for it for minutes."""

import http.client
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from genae_core.config.redaction import redact_uri

Result = TypeVar("Result")

ANSWER_S = 4.0  # the longest wait for the answer to a short question


def within(seconds: float, function: Callable[..., Result], *arguments: Any) -> Result:
    """Call the function, and stop waiting for it after a number of seconds.

    A thread cannot be ended from outside. A call that takes longer therefore continues in a
    background thread, which ends with the process at the latest.

    Args:
        seconds: The longest wait.
        function: What to call.
        *arguments: Its arguments.

    Returns:
        What the function returns.

    Raises:
        TimeoutError: The call takes longer.
        Exception: Whatever the function raises.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function(*arguments))
        except BaseException as error:  # The caller raises it.
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True, name="within")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]


def check_port(host: str, port: int) -> None:
    """Connect to a port, and close the connection again.

    Args:
        host: The name or the IP address of the host.
        port: The port.

    Raises:
        ConnectionError: Nothing answers within ANSWER_S. The message says why.
    """

    def ask() -> None:
        socket.create_connection((host, port), ANSWER_S).close()

    try:
        within(ANSWER_S, ask)
    except OSError as error:
        raise ConnectionError(f"nothing answers at {host}:{port}: {_reason(error)}") from None


def check_url(url: str, use_proxies: bool = True) -> None:
    """Send one request to an HTTP server. Any answer counts, also one that refuses.

    Args:
        url: The address. Its user and password are not sent.
        use_proxies: Whether to go through the proxies of the environment.

    Raises:
        ConnectionError: Nothing answers within ANSWER_S. The message says why.
    """
    handlers = [] if use_proxies else [urllib.request.ProxyHandler({})]
    opener = urllib.request.build_opener(*handlers)

    def ask() -> None:
        parts = urlsplit(url)
        plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        try:
            opener.open(plain, timeout=ANSWER_S).close()
        except urllib.error.HTTPError:
            return
        except urllib.error.URLError as error:
            # Another program may know a certificate that Python does not know.
            if not isinstance(error.reason, ssl.SSLError):
                raise

    try:
        within(ANSWER_S, ask)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        why = _reason(reason) if isinstance(reason, OSError) else str(reason)
        raise ConnectionError(f"nothing answers at {redact_uri(url)}: {why}") from None


def _reason(error: OSError) -> str:
    """Why there is no answer, in words."""
    if isinstance(error, socket.gaierror):
        return "there is no host of this name"
    if isinstance(error, TimeoutError):
        return f"there is no answer within {ANSWER_S:g} s"
    return error.strerror or str(error) or type(error).__name__
