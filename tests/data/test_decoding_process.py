"""A file that hangs, fills the memory or crashes its decoder is rejected, and the next is read."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from contracts.pictures import encode, paint
from PIL import Image

from genae_core.data import decoding_process, pillow_decoding
from genae_core.data.base import Rejected
from genae_core.data.decoding_process import DECODING, DecodingProcess, NotStartedError
from genae_core.data.file_source import FileSource
from genae_core.data.pillow_decoding import read_square
from genae_core.data.storage import Folder

PNG = encode(paint(1), "PNG")
MAX_PIXELS = 10**8
# What a decoder may do, each in place of the decoding of a file with this content.
MISDEEDS = f"""
import importlib.util, os, sys

spec = importlib.util.spec_from_file_location("decoding", {pillow_decoding.__file__!r})
decoding = importlib.util.module_from_spec(spec)
spec.loader.exec_module(decoding)
decode = decoding.read_square

class OddError(Exception):
    pass

def crash_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.abort()

def raise_odd():
    raise OddError("neither an OSError nor a ValueError")

def recurse():
    recurse()

def misbehave(content, **settings):
    {{
        b"crash": os.abort,
        b"loop": lambda: any(iter(int, 1)),
        b"memory": lambda: bytearray(10**9),
        b"odd": raise_odd,
        b"deep": recurse,
    }}.get(content, lambda: None)()
    if content.startswith(b"/"):
        crash_once(content)
        content = {PNG!r}
    return decode(content, **settings)

decoding.read_square = misbehave
decoding.serve(*sys.argv[1:])
"""


@pytest.fixture
def bad_decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecodingProcess]:
    monkeypatch.setattr(decoding_process, "COMMAND", ("-c", MISDEEDS))
    monkeypatch.setattr(decoding_process, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(decoding_process, "MAX_BYTES", 300_000_000)
    process = DecodingProcess()
    yield process
    process.stop()


@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        (b"crash", r"its decoder crashed \(SIGABRT\)"),
        (b"loop", "decoding it takes more than 0.2 seconds"),
        (b"memory", "decoding it takes more memory than is allowed"),
        (b"odd", "not a whole image: OddError: neither an OSError"),
        (b"deep", "not a whole image: RecursionError"),
    ],
)
def test_a_misdeed_is_a_reason_and_the_next_file_is_read(
    misdeed: bytes, reason: str, bad_decoder: DecodingProcess
) -> None:
    wanted = read_square(PNG, 1.0, MAX_PIXELS)
    assert bad_decoder.read_square(PNG, 1.0, MAX_PIXELS) == wanted
    with pytest.raises(ValueError, match=reason):
        bad_decoder.read_square(misdeed, 1.0, MAX_PIXELS)
    assert bad_decoder.read_square(PNG, 1.0, MAX_PIXELS) == wanted


def test_a_process_that_something_else_ended_is_no_fault_of_the_file(
    bad_decoder: DecodingProcess, tmp_path: Path
) -> None:
    wanted = read_square(PNG, 1.0, MAX_PIXELS)
    once = os.fsencode(tmp_path / "crashed")
    assert bad_decoder.read_square(once, 1.0, MAX_PIXELS) == wanted
    assert bad_decoder.process is not None
    bad_decoder.process.kill()
    assert bad_decoder.read_square(PNG, 1.0, MAX_PIXELS) == wanted


def test_an_interrupted_answer_is_not_taken_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    process, other = DecodingProcess(), encode(paint(2, 30, 20), "PNG")
    process.read_square(PNG, 1.0, MAX_PIXELS)

    def interrupt() -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(process.connection, "recv_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        process.read_square(PNG, 1.0, MAX_PIXELS)
    square = process.read_square(other, 1.0, MAX_PIXELS)
    assert (square.height, square.width) == (30, 20)
    process.owner = 0  # as in a process that was forked, which shares the pipe
    first = process.process
    assert process.read_square(other, 1.0, MAX_PIXELS) == square
    assert process.process is not first and first is not None
    first.kill()
    first.wait()
    process.stop()


def test_a_decoder_that_does_not_start_rejects_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    DECODING.stop()
    (tmp_path / "a.png").write_bytes(PNG)
    source = FileSource(Folder(tmp_path), {"train": ("a.png",)}, {"train": np.zeros(1)}, "", 32, 1)  # type: ignore[dict-item]
    with monkeypatch.context() as patch:
        patch.setattr(decoding_process, "COMMAND", ("-c", "raise SystemExit(7)"))
        with pytest.raises(NotStartedError, match="with exit code 7"):
            source.read("train", 0, 1)
        patch.setattr(sys, "executable", str(tmp_path / "nowhere"))
        with pytest.raises(NotStartedError, match="cannot start a process to decode .*nowhere"):
            source.read("train", 0, 1)
    assert source.read("train", 0, 1).names == ["a.png"]


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("MAX_BYTES", 70_000_000, "takes more memory than is allowed"),
        ("MAX_SECONDS", 0.01, r"takes more than 0\.01 seconds"),
    ],
)
def test_a_real_picture_that_exceeds_a_limit(
    limit: str, value: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = encode(Image.new("L", (5_000, 5_000)), "PNG")
    assert DECODING.read_square(large, 0.01, MAX_PIXELS).width == 5_000
    monkeypatch.setattr(decoding_process, limit, value)
    process = DecodingProcess()
    try:
        with pytest.raises(ValueError, match=reason):
            process.read_square(large, 0.01, MAX_PIXELS)
    finally:
        process.stop()


def test_it_ends_with_its_owner() -> None:
    script = (
        "import time; from genae_core.data.decoding_process import DECODING; "
        f"DECODING.read_square({PNG!r}, 1.0, 10**8); "
        "print(DECODING.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        os.kill(pid, 0)
        owner.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < end, "the process outlived its owner"
        time.sleep(0.02)


def test_an_unknown_error_of_a_library_is_a_rejected_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class OddError(Exception):
        pass

    def fail(*_: object) -> None:
        raise OddError("out of range")

    monkeypatch.setattr("genae_core.data.encoded_rows.decode", fail)
    (tmp_path / "a.png").write_bytes(PNG)
    source = FileSource(Folder(tmp_path), {"train": ("a.png",)}, {"train": np.zeros(1)}, "", 32, 1)  # type: ignore[dict-item]
    assert source.read("train", 0, 1).rejected == [Rejected("a.png", "OddError: out of range")]
