"""A dead Ray is one clear line within seconds, and Ray's errors never leave as tracebacks."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray import exceptions

from genae_core.config import network
from genae_core.sweep import ray_cluster, ray_errors
from genae_core.sweep.ray_errors import ClusterError, check_address, translate_errors


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What a server answers, once it is filled, at the address HOST:PORT of the first entry."""
    monkeypatch.setattr(network, "ANSWER_S", 0.5)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        replies = [f"127.0.0.1:{listener.getsockname()[1]}".encode()]
        kept: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                kept.append(connection)
                for reply in replies[1:]:
                    connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield replies
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in kept:
            connection.close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "nothing answers at 127.0.0.1:1: Connection refused"),
        ("ray://127.0.0.1:1", "nothing answers at 127.0.0.1:1: Connection refused"),
        ("no-such-host.invalid:6379", "there is no host of this name"),
        ("http://127.0.0.1:8265", "the address of a dashboard"),
        ("nonsense", "must be HOST:PORT"),
        ("host:", "must be HOST:PORT"),
        ("host:٦٣٧٩", "must be HOST:PORT"),
        ("host:99999", "must be HOST:PORT"),
        ("ray://me:hunter2@host", "must be HOST:PORT"),
    ],
)
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_an_address_at_which_there_is_no_cluster(
    address: str, message: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "ANSWER_S", 0.5)
    if how == "variable":
        monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    with pytest.raises(ValueError, match=f"no Ray cluster could be used.*{message}") as caught:
        ray_cluster.connect(address if how == "flag" else None, 1)
    assert time.monotonic() - began < 5
    assert "hunter2" not in str(caught.value) and "--ray-address" in str(caught.value)


def test_a_port_that_never_answers_or_is_of_something_else(answers: list[bytes]) -> None:
    address = answers[0].decode()
    with pytest.raises(ConnectionError, match="no answer within 0.5 s"):
        check_address(address)
    answers.append(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ValueError, match="it is no Ray cluster"):
        check_address(address)
    answers[1] = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 1, 0])  # settings of HTTP/2
    check_address(address)
    check_address(f"ray://{address}")


def test_tls_is_not_greeted(answers: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    check_address(answers[0].decode())


@pytest.mark.parametrize(
    "error",
    [
        exceptions.WorkerCrashedError(),
        exceptions.GetTimeoutError("no\nanswer"),
        exceptions.RaySystemError("the raylet is gone"),
        exceptions.LocalRayletDiedError(),
        exceptions.OutOfMemoryError("killed"),
        exceptions.NodeDiedError("a node"),
        exceptions.RuntimeEnvSetupError("no environment"),
        exceptions.ObjectStoreFullError(),
        exceptions.AuthenticationError("wrong token"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_ray_behind_every_call_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise error

    remote: Any = lambda **_: lambda function: SimpleNamespace(remote=fail)  # noqa: E731
    fake = SimpleNamespace(
        get=fail, put=fail, nodes=fail, cluster_resources=fail, remote=remote, init=fail
    )
    fake.is_initialized = lambda: False
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: fake)
    monkeypatch.setattr(ray_cluster, "check_address", lambda address: None)
    for call in (
        lambda: ray_cluster.call_once(max, 1, 2),
        lambda: ray_cluster.share(1),
        ray_cluster.nodes,
        ray_cluster.resources,
        ray_cluster.object_store_bytes,
    ):
        with pytest.raises(ClusterError) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ValueError, match="no Ray cluster could be used at h:1") as refused:
        ray_cluster.connect("h:1", 1)
    assert len(str(refused.value).splitlines()) == 1


def test_the_error_of_a_function_is_raised_as_it_was() -> None:
    cause = ValueError("--size must be 32 or 64")
    error = exceptions.RayTaskError("function", "Traceback (most recent call last)\n ...", cause)
    for wrapped in (error, error.as_instanceof_cause()):
        with pytest.raises(ValueError, match="^--size must be 32 or 64$"), translate_errors():
            raise wrapped


def test_an_error_that_is_not_ray_s_stays() -> None:
    with pytest.raises(KeyError), translate_errors():
        raise KeyError("x")


def test_a_traceback_in_a_message_is_cut_to_its_last_line() -> None:
    text = "The actor died\nTraceback (most recent call last):\n  File x\nKeyError: 'y'"
    assert ray_errors.one_line(RuntimeError(text)) == "KeyError: 'y'"
    assert os.linesep not in ray_errors.one_line(RuntimeError("a\nb"))
