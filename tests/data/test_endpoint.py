"""An object store that does not answer is one clear line within seconds."""

import pickle
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest

from genae_core.config import network
from genae_core.data.endpoint import endpoint_of
from genae_core.data.storage import Folder


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("http://127.0.0.1:1", "Connection refused"),
        ("http://no-such-host.invalid:9000", "there is no host of this name"),
        ("http://127.0.0.1:SILENT", "no answer within"),
    ],
)
@pytest.mark.parametrize("how", ["variable", "option"])
def test_a_dead_endpoint(
    server: str, message: str, how: str, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "ANSWER_S", 0.3)
    server = server.replace("SILENT", str(silent))
    uri = "s3://KEY:hunter2@bucket/images"
    if how == "variable":
        monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    else:
        protocol, _, host = server.rpartition("://")
        uri += f"?endpoint_override={host}" + (f"&scheme={protocol}" if protocol else "")
    began = time.monotonic()
    with pytest.raises(OSError, match=f"nothing answers at .*{message}") as caught:
        Folder(uri).exists("x")
    assert time.monotonic() - began < 5
    assert "hunter2" not in str(caught.value) and "s3://KEY:***@bucket" in str(caught.value)


def test_an_endpoint_without_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(ValueError, match="'nonsense' names no server"):
        Folder("s3://bucket/x").exists("x")


def test_the_server_of_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert endpoint_of("s3://b/x") is None
    assert endpoint_of("s3://b/x?region=eu-west-1") == "https://s3.eu-west-1.amazonaws.com"
    assert endpoint_of("s3://b/x?region=cn-north-1") is None
    assert endpoint_of("s3://b?endpoint_override=h:9&scheme=http") == "http://h:9"
    assert endpoint_of("gs://b/x") == "https://storage.googleapis.com"
    assert endpoint_of("abfs://b/x") is None
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://h:1")
    assert endpoint_of("s3://b/x") == "http://h:1"


@pytest.mark.parametrize(
    "error",
    [
        pyarrow.ArrowInvalid("Invalid"),
        pyarrow.ArrowNotImplementedError("no such\nthing"),
        pyarrow.ArrowKeyError("key"),
        pyarrow.ArrowTypeError("type"),
        pyarrow.ArrowCapacityError("too large"),
        OSError("AWS Error for s3://KEY:hunter2@bucket"),
        FileNotFoundError("not there"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_of_pyarrow_is_an_oserror_that_names_the_file(error: Exception) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            def fail(*_: object) -> None:
                raise error

            return fail

    folder = Folder("s3://KEY:hunter2@bucket/x")
    folder._store = Failing(), "bucket/x"
    calls: list[Callable[[], Any]] = [
        lambda: folder.exists("a"),
        folder.files,
        lambda: folder.read("a"),
        lambda: folder.open("a"),
        lambda: folder.sha256("a"),
        lambda: folder.write("a", b""),
        lambda: folder.delete("a"),
    ]
    for call in calls:
        with pytest.raises(OSError, match=r"s3://KEY:\*\*\*@bucket/x") as caught:
            call()
        assert "hunter2" not in str(caught.value)
        assert isinstance(caught.value, FileNotFoundError) or type(error) is not FileNotFoundError


def test_a_folder_hides_its_password_and_keeps_it_for_other_processes() -> None:
    folder = Folder("s3://KEY:hunter2@bucket/x") / "deep"
    for text in (folder.uri, repr(folder), str(folder), folder.path_of("a")):
        assert "hunter2" not in text
    assert folder.address == "s3://KEY:hunter2@bucket/x/deep"
    assert pickle.loads(pickle.dumps(folder)).address == folder.address


def test_a_stored_address_without_its_password_uses_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    class Store:
        closed = False

        def get_file_info(self, path: str) -> None:
            if self.closed:
                raise OSError("ACCESS_DENIED")

    def from_uri(uri: str) -> tuple[Any, str]:
        opened.append(uri)
        return Store(), "bucket/x"

    monkeypatch.setattr("genae_core.data.storage.check_endpoint", lambda uri: None)
    monkeypatch.setattr("pyarrow.fs.FileSystem", SimpleNamespace(from_uri=from_uri))
    Folder("s3://KEY:***@bucket/x")._open()
    assert opened == ["s3://bucket/x"]
    Store.closed = True
    with pytest.raises(ValueError, match="stored without its password.*--data-root"):
        Folder("s3://KEY:***@bucket/x")._open()
