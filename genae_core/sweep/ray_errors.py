"""The translation of Ray's errors, and a short question to a cluster before Ray waits for it.

Ray waits about ten minutes for an address at which nothing answers.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from genae_core.config import network
from genae_core.config.command_name import command_line
from genae_core.config.network import check_port
from genae_core.config.redaction import redact

CLIENT_PORT = 10001  # of ray://HOST without a port
ANSWERS = ("OK", "UNAUTHENTICATED")  # of a Ray cluster; the second by one that wants a token
LONGEST = 300  # characters of Ray's message


class ClusterError(OSError):
    """The Ray cluster failed, or a worker or a node of it died."""


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise Ray's errors of the block as a ClusterError of one line.

    The error of a function that ran on the cluster is raised as the function raised it. Ray's own
    message about it is a traceback.
    """
    try:
        yield
    except Exception as error:
        from ray.exceptions import RayError, RayTaskError  # noqa: PLC0415

        cause = getattr(error, "cause", None)
        if isinstance(error, RayTaskError) and isinstance(cause, Exception):
            if not isinstance(cause, RayError):
                raise cause from error
            error = cause
        if isinstance(error, RayError):
            raise ClusterError(f"the Ray cluster: {one_line(error)}") from error
        raise


def one_line(error: BaseException) -> str:
    """Ray's message in one line, without its traceback and without passwords."""
    lines = [line.strip() for line in redact(str(error)).splitlines() if line.strip()]
    text = " ".join(lines) or type(error).__name__
    if "Traceback (most recent call last)" in text:
        text = lines[-1]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def check_address(address: str) -> None:
    """Check that a Ray cluster answers at an address.

    Args:
        address: HOST:PORT, ray://HOST:PORT or auto.

    Raises:
        ValueError: The address has another form, or what answers is no Ray cluster.
        ConnectionError: Nothing answers within some seconds.
    """
    if address == "local":
        return
    if address.startswith(("http://", "https://")):
        raise ValueError(
            "this is the address of a dashboard: give HOST:PORT of the head, which has the port "
            f"6379 by default, or send the job with {command_line('submit', '--address', address)}"
        )
    host, port = _host_and_port(address)
    check_port(host, port)
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return
    status = _ask(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", address)
    if status == "DEADLINE_EXCEEDED":
        raise ConnectionError(
            f"nothing answers at {host}:{port}: there is no answer within {network.ANSWER_S:g} s"
        )
    if status not in ANSWERS:
        raise ValueError(f"something answers there, but it is no Ray cluster ({status})")


def _ask(place: str, address: str) -> str:
    """The status of what answers there, asked as a node or as a client would ask it."""
    kind = "client" if address.startswith("ray://") else "head"
    program = (sys.executable, "-m", f"{__package__}.ask_ray", place, kind, str(network.ANSWER_S))
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]


def _host_and_port(address: str) -> tuple[str, int]:
    """The host and the port of a cluster. Raises ValueError if the address has another form."""
    if address == "auto":
        # The place in which Ray notes the cluster of this machine is known to Ray alone.
        from ray._private.services import canonicalize_bootstrap_address  # noqa: PLC0415

        address = canonicalize_bootstrap_address(address) or ""
    is_client = address.startswith("ray://")
    host, colon, port = address.removeprefix("ray://").rstrip("/").rpartition(":")
    if is_client and not colon:
        host, port = port, str(CLIENT_PORT)
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError("the address must be HOST:PORT, ray://HOST:PORT or auto")
    return host.strip("[]"), int(port)
