"""What version 0.1.0 has written is read, resumed, sampled and shown as that version would do it.

The files, and what that version made of them, are in tests/stored; see README.md there.
"""

import hashlib
import importlib.util
import json
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import scripts
from contracts.pages import data_of
from contracts.scripts import environment
from report.test_model_card import metadata_of
from stored import make
from stored.make import COMMON, CUT, PREPARE, SEARCH, digest_of, runs_of, samples_of
from stored.unpack import ARCHIVE, HERE, WRITTEN_AT, unpack

# The Python names that the tests need: where a module moves, this section follows.
from genae_core.config.serialize import flatten, from_dict, to_dict
from genae_core.data.base import load
from genae_core.data.digits import DigitsConfig
from genae_core.data.shards import preprocessing_of
from genae_core.distributions.rng import Draw
from genae_core.metrics.classifier_cache import recipe_key
from genae_core.sweep.runs import chain_label, run_key
from genae_core.training.batches import Batches
from genae_core.training.checkpoint import load_model, weights_digest
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import Callbacks, fit
from genae_core.training.snapshot_folder import SaveSchedule, SnapshotFolder

RENAMED: dict[str, str] = {"law": "fitted_prior"}  # fields of configs by their former names

# The scripts are started by their paths, which do not move.
ROOT = Path(__file__).resolve().parents[1]
LATENT_DIM_PY, SEARCH_PY = "sweeps/latent_dim.py", "sweeps/search.py"
PREPARE_DATA, SAMPLE = "jobs/prepare_data.py", "jobs/sample.py"
EXPORT = "jobs/export.py"
EVALUATE, REPLAY = "jobs/evaluate.py", "jobs/replay_tracking.py"
RELOCATE = "jobs/relocate_home.py"
EXPLORER = "dashboards/explorer/build.py"

EXPECTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text())
CONFIGS: dict[str, Any] = json.loads((HERE / "configs.json").read_text())
FINISHED = [key for name in ("finished", "chains") for key in EXPECTED["runs"][name]]
SHAPE = make.SHAPE


@pytest.fixture(scope="module")
def exact() -> bool:
    """Whether trainings end here with the bits that they ended with where the files were made."""
    return bool(make.arithmetic() == EXPECTED["arithmetic"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stored tree, to be read."""
    return unpack(tmp_path_factory.mktemp("stored"))


@pytest.fixture
def here(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The tree as GENAE_HOME and working folder of this process; no cache of it is renamed."""
    monkeypatch.setenv("GENAE_HOME", str(tree / "home"))
    monkeypatch.chdir(tree)
    for folder in ("sweeps", "jobs"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    yield tree
    check_caches(tree)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Another copy of the tree in which both sweeps are resumed, and what they printed."""
    root = unpack(tmp_path_factory.mktemp("resumed"))
    printed = {
        "cut": script(root, LATENT_DIM_PY, *COMMON, *CUT, "--resume"),
        "searched": script(root, SEARCH_PY, *COMMON, *SEARCH, "--resume"),
    }
    return root, printed


def script(root: Path, path: str, *flags: str) -> str:
    """What the script prints, run in the tree without the time that its imports take."""
    variables = environment(root / "home")
    done = scripts.run(path, *flags, variables=variables, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def job(path: str, **options: Any) -> None:
    """A script in this process, through its own options: where Ray is not needed, imports would
    take longest."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    assert module.main(module.Options(**options)) == 0


def check_caches(root: Path) -> None:
    """The shards and the classifiers are found under their keys: none is made anew."""
    for name, folders in EXPECTED["folders"].items():
        kept = (path.name for path in (root / "home" / name).iterdir() if path.name[0] != ".")
        assert sorted(kept) == folders


def id_of(key: str) -> str:
    """The id of the stored run under this key."""
    (run_id,) = (runs[key]["run_id"] for runs in EXPECTED["runs"].values() if key in runs)
    return str(run_id)


# Parzen windows are now summed relative to the nearest sample, which changes float32's last bits.
LAST_BITS = ("chain/parzen", "chain/parzen_se")


# What this version measures of a training that goes on, and earlier ones did not.
LATER = {"fcd_change_se", "calls_start", "calls_step", "chain/ess_per_call", "chain/rhat_nested"}


def check_runs(runs: dict[str, Any], expected: dict[str, Any], exact: bool) -> None:
    """The same keys, and of each the same tags, params, curves and artifacts. Numbers of a
    training that went on here are compared where its bits are the same."""
    assert runs.keys() == expected.keys()
    for key, run in runs.items():
        want = expected[key]
        assert run["status"] == want["status"]
        assert run["params"] == want["params"]
        assert run["artifacts"].keys() == want["artifacts"].keys()
        assert run["metrics"].keys() - LATER == want["metrics"].keys()
        if exact:
            assert run["tags"] == want["tags"]
            for name, curve in want["metrics"].items():
                if name in LAST_BITS:
                    np.testing.assert_allclose(run["metrics"][name], curve, rtol=1e-5)
                else:
                    assert run["metrics"][name] == curve, name
            assert run["losses"] == want["losses"]
            # They hold configs' names, or the metrics that are compared above.
            named = ("experiment.json", "checkpoint/checkpoint.json", "curve.json")
            for name, digest in want["artifacts"].items():
                assert name in named or run["artifacts"][name] == digest, name


# Configs and their keys.


@pytest.mark.parametrize("name", CONFIGS["configs"])
def test_a_stored_config_is_read(name: str) -> None:
    for stored in CONFIGS["configs"][name]:
        config = from_dict(stored)
        assert type(config).__name__ == name.rsplit(".", 1)[1]
        values = {field: value for field, value in stored.items() if not is_config(value)}
        for field, value in values.items():
            if field != "config":
                held = getattr(config, RENAMED.get(field, field))
                assert plain(held) == value
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def is_config(value: Any) -> bool:
    """Whether a JSON value is a config, or a list of them."""
    return isinstance(value, dict) or (isinstance(value, list) and any(map(is_config, value)))


def plain(value: Any) -> Any:
    """A tuple as the list that JSON makes of it."""
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", CONFIGS["experiments"])
def test_an_experiment_keeps_its_keys(name: str) -> None:
    stored = CONFIGS["experiments"][name]
    experiment = from_dict(stored["config"])
    keys = {
        chain_label(chain): run_key("a sweep", experiment, chain) for chain in experiment.chains
    }
    assert keys == stored["run keys"]
    binarize = experiment.data.binarize
    assert recipe_key(experiment.classifier, "0123abcd", binarize) == stored["recipe key"]
    assert digest_of(json.dumps(flatten(experiment)).encode()) == stored["params"]
    about = preprocessing_of(experiment.data)
    assert without_name(about) == without_name(stored["preprocessing"])


def without_name(about: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if name != "config"}


# Models and trainings.


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED["checkpoints"])
def test_a_stored_checkpoint_is_sampled(
    name: str, here: Path, tmp_path: Path, exact: bool
) -> None:
    expected = EXPECTED["checkpoints"][name]
    folder = here / "checkpoints" / name
    assert weights_digest(load_model(folder)) == expected["weights"]
    chain: dict[str, Any] = {"num_samples": 30, "steps": 2, "batch_norm": "running"}
    job(SAMPLE, source=str(folder), out=str(tmp_path / "out"), **chain)
    assert not exact or samples_of(tmp_path / "out") == expected["samples"]


@pytest.mark.parametrize("name", EXPECTED["states"])
def test_a_stored_state_is_gone_on_from(
    name: str, tree: Path, tmp_path: Path, exact: bool
) -> None:
    """A training that was stopped after 7 of 12 steps ends as one that never was."""
    expected = EXPECTED["states"][name]
    shutil.copytree(tree / "states" / name, tmp_path / name)
    stored = json.loads((tree / "checkpoints" / name / "checkpoint.json").read_text())
    warnings: list[str] = []
    snapshots = SnapshotFolder(tmp_path / name, SaveSchedule(600), warn=warnings.append)
    draw = Draw(0, "training")
    with draw.as_global():
        model = from_dict(stored["model"]).build(SHAPE)
    examples = Batches(load(DigitsConfig()).train, 100, False, draw.device).examples()
    training = TrainingConfig(epochs=3, batch_size=25, decay="linear")
    callbacks = Callbacks(snapshots=snapshots)
    history = fit(model, model.stages(), examples, training, draw, callbacks).history
    assert (snapshots.resumed_step, warnings) == (expected["step"], [])
    points = [[point.step, point.terms] for point in history]
    steps = [step for step, _ in expected["history"]]
    assert [step for step, _ in points] == steps
    kept = [step for step in steps if step <= expected["step"]]
    assert points[: len(kept)] == expected["history"][: len(kept)]  # read back, not computed
    if exact:
        assert points == expected["history"]
        assert weights_digest(model) == expected["weights"]


# Runs that have ended.


@pytest.mark.parametrize("sweep", EXPECTED["runs"])
def test_all_runs_are_listed_with_their_curves(sweep: str, tree: Path) -> None:
    check_runs(runs_of(tree, sweep), EXPECTED["runs"][sweep], True)


# The stored model encodes all images alike, and scikit-learn says so as it fits the law.
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("key", FINISHED)
def test_a_stored_run_is_sampled_by_its_id(
    key: str, here: Path, tmp_path: Path, exact: bool
) -> None:
    """One of the two chains of the sweep "chains" has its model in the other's run, and both
    draw z from a law that is fitted anew."""
    run_id = id_of(key)
    job(SAMPLE, source=run_id, num_samples=30, steps=2, out=str(tmp_path / "out"))
    assert not exact or samples_of(tmp_path / "out") == EXPECTED["run samples"][run_id]


def test_a_stored_run_is_exported(here: Path, tmp_path: Path) -> None:
    """The export is sampled as the run, and holds none of its places."""
    run_id, folder = id_of(FINISHED[0]), tmp_path / "export"
    job(EXPORT, run_id=run_id, out=folder)
    for source, out in ((run_id, "by-run"), (str(folder), "by-export")):
        job(SAMPLE, source=source, num_samples=30, steps=2, out=str(tmp_path / out))
    assert samples_of(tmp_path / "by-run") == samples_of(tmp_path / "by-export")
    about = (folder / "checkpoint.json").read_text()
    assert '"root": "***"' in about and str(here) not in about and WRITTEN_AT not in about
    (curve,) = (runs[FINISHED[0]] for runs in EXPECTED["runs"].values() if FINISHED[0] in runs)
    (index,) = metadata_of((folder / "README.md").read_text())["model-index"]
    metrics = [each["value"] for each in index["results"][0]["metrics"]]
    assert metrics == [value for _, value in curve["metrics"]["chain/fcd"]]


@pytest.mark.parametrize("source", EXPECTED["evaluated"])
def test_a_stored_model_is_measured(source: str, here: Path, tmp_path: Path, exact: bool) -> None:
    expected = EXPECTED["evaluated"][source]
    steps = (0, 2) if "/" in source else None
    out = tmp_path / "report.json"
    job(EVALUATE, source=source, num_samples=60, steps=steps, out=out)
    report = json.loads(out.read_text())
    assert report.pop("ruler").startswith(("sound: ", "blind: "))
    # A run keeps the classifier that the version has trained for it.
    sha256, name = report.pop("classifier_sha256"), report.pop("classifier")
    if steps is None:
        (kept,) = (here / "home" / "classifiers").glob("image_folder-*/weights.safetensors")
        assert hashlib.sha256(kept.read_bytes()).hexdigest() == sha256
        assert name == f"image_folder {sha256[:8]} (trained)"
    else:
        assert name == f"digits {sha256[:8]} (shipped with genae)"
    # A run of an earlier version recommends the step that its metric says; a checkpoint none.
    recommended = report.pop("recommended_step")
    assert recommended is None if steps else recommended in [at["step"] for at in report["steps"]]
    assert report.keys() == expected.keys()
    assert [at["step"] for at in report["steps"]] == [at["step"] for at in expected["steps"]]
    assert not exact or report == expected


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of the test's own, which is GENAE_HOME but not the working folder."""
    root = unpack(tmp_path / "tree")
    monkeypatch.setenv("GENAE_HOME", str(root / "home"))
    monkeypatch.chdir(tmp_path)
    for folder in ("sweeps", "jobs"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    return root


@pytest.mark.slow
def test_a_run_with_a_relative_root_is_measured_from_another_folder(
    elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That version stored the root as it was typed. The images are the same, whatever their
    root."""
    source = next(source for source in EXPECTED["evaluated"] if "/" not in source)
    options: dict[str, Any] = {"source": source, "num_samples": 60}
    with pytest.raises(
        ValueError, match="relative root 'images': start the command in the folder"
    ):
        job(EVALUATE, **options)
    out = tmp_path / "report.json"
    job(EVALUATE, **options, data_root="tree/images", out=out)
    printed = capsys.readouterr().out
    assert "not those of the run" not in printed and "training the FCD's" not in printed
    floor = EXPECTED["evaluated"][source]["floor"]
    assert json.loads(out.read_text())["floor"] == pytest.approx(floor, rel=1e-3)


def test_a_home_that_was_moved_is_used_after_its_new_place_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    options = {"source": id_of(FINISHED[0]), "num_samples": 30, "steps": 2, "out": "out"}
    with pytest.raises(ValueError, match=f" relocate {WRITTEN_AT}/home"):
        job(SAMPLE, **options)
    job(RELOCATE, old=Path(WRITTEN_AT, "home"))
    job(SAMPLE, **options)
    assert (tmp_path / "out" / "part-00000.parquet").is_file()
    manifests = [path.read_text() for path in (tmp_path / "home" / "sweeps").glob("*/sweep.json")]
    assert manifests and not any(WRITTEN_AT in text for text in manifests)


def test_a_page_of_stored_sweeps_is_built(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    job(EXPLORER, sweep=("finished", "chains"), out=out)
    page = data_of(out.read_text())
    runs = {run["id"]: run for run in page["runs"]}
    assert runs.keys() == {id_of(key) for key in FINISHED} and page["withoutResult"] == []
    counts = page["pictureCounts"]
    assert counts["embedded"] == counts["all"] > len(runs)
    stored = EXPECTED["runs"]["finished"] | EXPECTED["runs"]["chains"]
    for key in FINISHED:
        run, metrics = runs[id_of(key)], stored[key]["metrics"]
        curve = dict(metrics["chain/fcd"])
        assert run["steps"] == list(curve)
        assert run["values"]["fcd"] == pytest.approx(list(curve.values()), rel=1e-3)
        assert run["scalars"]["fcd_best"] == metrics["fcd_best"][0][1]


# Sweeps that were killed.


@pytest.mark.slow
@pytest.mark.parametrize("sweep", ["cut", "searched"])
def test_a_killed_sweep_is_resumed(
    sweep: str, resumed: tuple[Path, dict[str, str]], exact: bool
) -> None:
    """One finished run a key (`runs_of` asserts that), and the training goes on from its state."""
    root, printed = resumed
    steps = re.findall(r"it continued from step (\d+)", printed[sweep])
    assert steps == [str(EXPECTED["went on"][sweep])]
    expected = EXPECTED["resumed"][sweep]
    assert {run["status"] for run in expected.values()} == {"FINISHED"}
    check_runs(runs_of(root, sweep), expected, exact)
    folder = root / "home" / "sweeps" / sweep
    assert not (folder / "states").exists() and not (folder / "journals").exists()
    table = (folder / "table.txt").read_text()
    *rows, steps, ruler = table.splitlines()
    assert len(rows) == 2 + len(expected) and ruler.startswith("ruler: ")
    assert steps.startswith("best step: ")
    check_caches(root)


@pytest.mark.slow
def test_what_a_killed_sweep_has_not_delivered_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run that had finished is then complete; the one that was cut off is killed."""
    root = unpack(tmp_path)
    monkeypatch.setenv("GENAE_HOME", str(root / "home"))
    job(REPLAY, folder=root / "home" / "sweeps" / "cut")
    assert "delivered 2 of 2" in capsys.readouterr().out
    runs, resumed = runs_of(root, "cut"), EXPECTED["resumed"]["cut"]
    assert runs.keys() == resumed.keys()
    (killed,) = (key for key, run in runs.items() if run["status"] == "KILLED")
    complete = {key: run for key, run in runs.items() if key != killed}
    check_runs(complete, {key: resumed[key] for key in complete}, True)


# Shards and samples.


@pytest.mark.slow
def test_unfinished_shards_are_finished(tree: Path) -> None:
    printed = script(tree, PREPARE_DATA, *PREPARE, "--out", "shards-cut")
    assert "12 images into 3 shards; 2 of them are finished" in printed
    folder = tree / "shards-cut"
    for name, digest in EXPECTED["shards"].items():
        if name.endswith(".parquet"):
            assert digest_of((folder / name).read_bytes()) == digest
            assert (folder / name).read_bytes() == (tree / "shards" / name).read_bytes()
    names = ("shards-cut/_manifest.json", "shards/manifest.json")
    manifest, stored = (json.loads((tree / name).read_text()) for name in names)
    assert without_name(manifest.pop("preprocessing")) == without_name(stored.pop("preprocessing"))
    assert manifest.pop("copies") == 0  # That version did not look for copies.
    (note,), (stored_note,) = manifest.pop("notes"), stored.pop("notes")
    assert note.startswith(stored_note.removesuffix("."))  # The note says more now.
    manifest.pop("seal")  # Manifests of version 0.1 have none.
    assert manifest == stored


@pytest.mark.slow
def test_finished_shards_are_known_again(tree: Path) -> None:
    before = (tree / "shards" / "manifest.json").read_bytes()
    assert "nothing was left to decode" in script(tree, PREPARE_DATA, *PREPARE, "--out", "shards")
    assert (tree / "shards" / "manifest.json").read_bytes() == before


def test_unfinished_samples_are_finished(
    here: Path, capsys: pytest.CaptureFixture[str], exact: bool
) -> None:
    out, count = here / "samples-cut", make.SAMPLES
    first = (out / "part-00000.parquet").read_bytes()
    job(SAMPLE, source=str(here / "grey"), num_samples=count, steps=1, out=str(out))
    assert "5,100 samples, 5,000 of them are already written" in capsys.readouterr().out
    manifest, expected = json.loads((out / ".samples.json").read_text()), EXPECTED["samples-cut"]
    assert (out / "part-00000.parquet").read_bytes() == first
    assert hashlib.sha256(first).hexdigest() == manifest["parts"][0]["files"]["part-00000.parquet"]
    assert manifest["parts"][0] == expected["parts"][0]
    assert not exact or manifest["parts"] == expected["parts"]
    for name in ("samples", "device", "format", "weights", "law"):
        assert manifest["plan"][name] == expected["plan"][name]
    job(SAMPLE, source=str(here / "grey"), num_samples=count, steps=1, out=str(out))
    assert "5,100 of them are already written" in capsys.readouterr().out
