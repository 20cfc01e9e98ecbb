"""A dead Ray is one clear line within seconds, and Ray's errors never leave as tracebacks."""

import contextlib
import http.server
import os
import subprocess
import sys
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

# A server of gRPC that knows Ray's two methods, or wants a token for them, or knows none.
SERVER = """
import concurrent.futures, sys, threading, grpc
from genae_core.sweep.ask_ray import QUESTIONS
known = {
    "ray": lambda request, context: request,
    "token": lambda request, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, ""),
}
handlers = []
if sys.argv[1] in known:
    for method, message in QUESTIONS.values():
        _, service, name = method.split("/")
        handler = grpc.unary_unary_rpc_method_handler(known[sys.argv[1]])
        handlers.append(grpc.method_handlers_generic_handler(service, {name: handler}))
server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
threading.Event().wait(60)
"""


@contextlib.contextmanager
def grpc_server(kind: str) -> Iterator[str]:
    """The address of a server in a process of its own, since gRPC's threads survive no fork."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, kind], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield f"127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


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


def test_a_port_that_never_answers(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "ANSWER_S", 0.5)
    with pytest.raises(ConnectionError, match="no answer within 0.5 s"):
        check_address(f"127.0.0.1:{silent}")


def test_a_port_of_something_else() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(ValueError, match="it is no Ray cluster"):
        check_address(f"127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("kind", ["ray", "token", "nothing"])
def test_a_server_of_grpc(kind: str, scheme: str) -> None:
    """Also a proxy speaks HTTP/2, and answers 404: to gRPC this is a method that is not known."""
    with grpc_server(kind) as address:
        if kind == "nothing":
            with pytest.raises(ValueError, match=r"no Ray cluster \(UNIMPLEMENTED\)"):
                check_address(scheme + address)
        else:
            check_address(scheme + address)


def test_tls_is_asked_for_a_connection_alone(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    check_address(f"127.0.0.1:{silent}")


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


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("The current node timed out during startup.", "a busy machine may need longer"),
        ("[Errno 28] No space left on device", "mend what Ray says"),
    ],
)
def test_ray_that_does_not_start_here(
    text: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody named an address or a token, so the message speaks of this machine."""

    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError(text)

    fake = SimpleNamespace(is_initialized=lambda: False, init=fail)
    fake._private = ray_cluster.import_ray()._private
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: fake)
    with pytest.raises(ValueError, match="Ray could not be started on this machine") as caught:
        ray_cluster.connect(None, 1)
    message = str(caught.value)
    assert text in message and advice in message and "RAY_AUTH_MODE" not in message


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
