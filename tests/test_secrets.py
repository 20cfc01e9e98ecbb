"""No password of a flag that takes a URI is in anything that genae prints, logs or stores."""

import contextlib
import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from contracts.databases import new_store
from contracts.sweeps import make_sweep
from docs.documented import SCRIPTS, script_module

from genae_core import config
from genae_core.config.cli import cli
from genae_core.config.flags import parse_flags
from genae_core.data.digits import DigitsConfig
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.experiment.experiment import resolve
from genae_core.report.explorer.page import build
from genae_core.sweep import preparation, sweep_folder
from genae_core.sweep.cells import cell_key
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Plan, PreparedSweep, SweepPlace
from genae_core.sweep.runs import run_key
from genae_core.sweep.worker import run_cell
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import Tracker

SECRET = "hunter2+of/a=key"
URIS = (
    f"http://me:{SECRET}@127.0.0.1:1/x",
    f"s3://KEY:{SECRET}@bucket/x",
    f"postgresql+psycopg://127.0.0.1:1/db?user=me&password={SECRET}",
)


@config.register("test_secrets.rooted_digits")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RootedDigits(DigitsConfig):
    """Digits whose config has a root, as the config of a dataset with files has."""

    root: str


def text_flags(options: type) -> list[str]:
    """The flags that take any text, found by their types. A URI may be any of them."""
    hints = get_type_hints(options)
    kinds = (str, Path, str | None, Path | None, tuple[str, ...], Path | str)
    return [field.name for field in dataclasses.fields(options) if hints[field.name] in kinds]


@pytest.mark.slow
def test_the_walk_finds_the_flags_that_take_a_uri() -> None:
    names = {name for path in SCRIPTS for name in text_flags(script_module(path).Options)}
    assert names >= {
        "tracking_uri", "data_root", "raw", "out", "shards", "storage", "ray_address", "address",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_no_error_of_any_script_repeats_a_password(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script parses its flags, which may fail already, and its main fails with all values."""
    options = script_module(path).Options
    names, text = text_flags(options), usage(options)
    flags = {name: f"--{name.replace('_', '-')}" for name in names}
    named = [flag for flag in flags.values() if f"{flag} " in text]
    positional = len(flags) - len(named)
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    monkeypatch.setenv("GENAE_DEBUG", "1")

    def fail(values: Any) -> int:
        raise KeyError(repr(values))

    for uri in URIS:
        words = [word for flag in named for word in (flag, uri)] + ["--"] + [uri] * positional
        monkeypatch.setattr(sys, "argv", [str(path), *words])
        printed = io.StringIO()
        with (
            contextlib.redirect_stderr(printed),
            contextlib.redirect_stdout(printed),
            contextlib.suppress(SystemExit),
        ):
            cli(options, fail, "")
        assert "hunter2" not in printed.getvalue()
        command = preparation.command_without_secrets()
        assert "hunter2" not in command and ("***" in command or not names)


def usage(options: type) -> str:
    """The help of the flags."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        parse_flags(options, ["--help"])
    return text.getvalue()


@pytest.mark.slow
def test_no_file_of_a_sweep_holds_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A trial with all that it logs, the manifest and the page, in which every URI has one."""
    splits = tiny.splits()
    root, mirror = f"s3://KEY:{SECRET}@bucket/images", f"http://me:{SECRET}@host/mirror"
    data = RootedDigits(root=root)
    cell = resolve(dataclasses.replace(tiny.experiment(), data=data), splits)
    params = {"family": "vae", "latent_dim": 2}
    tracker = Tracker.create(new_store(tmp_path), "study", tmp_path / "artifacts")
    monkeypatch.setattr(sys, "argv", ["study.py", "--data-root", root, "--storage", mirror])
    tags = {
        "study": "study",
        "dataset": "digits",
        "command": preparation.command_without_secrets(),
        "classifier_sha256": "0",
        "classifier_accuracy": "1",
    }
    sweep = make_sweep(tracker, tmp_path, {cell_key(params): cell}, "s", tags, seeds=(0,))
    run_cell(params, sweep, splits, tiny.classifier(splits), lambda _: None)
    monkeypatch.setattr(tracker, "uri", f"http://me:{SECRET}@host")  # the manifest names it
    place = SweepPlace("study", "s", tmp_path / "sweep", tracker)
    plan: Any = Plan([params], {cell_key(params): cell}, searcher=None, max_trials=1)  # type: ignore[arg-type]
    options = LaunchOptions()
    sweep_folder.write_manifest(
        PreparedSweep(plan, place, sweep, splits, tiny.classifier(splits), 1, options)
    )
    build(sweep.uri, ["s"], tmp_path / "page.html")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"mlflow.db", "experiment.json", "sweep.json", "page.html"} <= {p.name for p in files}
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err
    for run in tracker.read_runs("s"):
        assert run.params["data.root"] == "s3://KEY:***@bucket/images"
        assert run.tags["command"].count("***") == 2
    manifest = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert manifest["tracking_uri"] == "http://me:***@host"


def test_a_run_key_is_the_same_for_what_was_stored_and_for_another_password() -> None:
    keys = set()
    for password in (SECRET, "another", "***"):
        data = RootedDigits(root=f"s3://KEY:{password}@bucket/images")
        experiment = dataclasses.replace(tiny.experiment(), data=data)
        keys.add(run_key("sweep", experiment, experiment.chains[0]))
    assert len(keys) == 1


def test_a_stored_config_has_no_password() -> None:
    data = ImageFolderConfig(root=f"s3://KEY:{SECRET}@bucket/images?access_key={SECRET}")
    for text in (
        json.dumps(config.to_dict(data)),
        config.to_json(data),
        str(config.flatten(data)),
    ):
        assert SECRET not in text and "s3://KEY:***@bucket/images" in text
    assert config.identity(data)["root"] == data.root
    assert config.from_json(config.to_json(data)).root == config.to_dict(data)["root"]
