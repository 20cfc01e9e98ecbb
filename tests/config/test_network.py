"""Short questions to addresses at which nothing answers."""

import socket
import threading
import time

import pytest

from genae_core.config import network
from genae_core.config.network import check_port, within


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "ANSWER_S", 0.3)


def test_a_closed_port_an_unknown_host_and_an_open_port(silent: int) -> None:
    cases = [
        ("127.0.0.1", 1, "refused"),
        ("no-such-host.invalid", 1, "no host of this name"),
    ]
    for host, port, reason in cases:
        began = time.monotonic()
        with pytest.raises(ConnectionError, match=f"nothing answers at {host}:{port}.*{reason}"):
            check_port(host, port)
        assert time.monotonic() - began < 2
    check_port("127.0.0.1", silent)


def test_a_name_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """socket.create_connection has no limit for it."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: threading.Event().wait(5))
    with pytest.raises(ConnectionError, match="no answer within 0.3 s"):
        check_port("host", 1)


def test_within_returns_and_raises_what_the_function_does() -> None:
    assert within(5, max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    with pytest.raises(TimeoutError):
        within(0.01, time.sleep, 1)
