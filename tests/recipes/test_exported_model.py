"""Runs of a small sweep, exported, and read where there is no store."""

import contextlib
import dataclasses
import hashlib
import io
import json
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from contracts.databases import new_store
from contracts.pages import data_of
from contracts.resealing import reseal
from contracts.scripts import ROOT
from contracts.sweeps import make_sweep
from report.test_model_card import metadata_of, rows_of
from safetensors.torch import load_file, save_file
from torch import nn

from genae_core import config, load_model
from genae_core.commands import evaluate, sample
from genae_core.config import registry
from genae_core.data import sealed
from genae_core.data.digits import DigitsConfig
from genae_core.distributions.rng import Draw
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.models.vae import VAEConfig
from genae_core.models.wrapped import WrappedDecoder, wrap
from genae_core.models.wrapped_checkpoint import wrapped_config
from genae_core.nets.base import Shape
from genae_core.priors.ex_post import ExPostMixture
from genae_core.recipes.exported_model import export_run
from genae_core.report.explorer.page import build
from genae_core.report.steps import RECOMMENDED_IS
from genae_core.report.tables import format_table
from genae_core.samplers.ancestral import Ancestral
from genae_core.sweep.cells import cell_key
from genae_core.sweep.worker import run_cell
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import StoredRun, Tracker
from genae_core.training.checkpoint import weights_digest

pytestmark = pytest.mark.slow

METRICS = ("fcd", "fcd_se", "fcd_val")
SECRET = "hunter2"
HOME = "/home/jane doe/pictures"


@config.register("test_export.rooted_digits")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RootedDigits(DigitsConfig):
    """Digits whose config has a root, as the config of a dataset with files has."""

    root: str


@config.register("test_export.vae")
@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnVAE(VAEConfig):
    """A family of the user's own, with a setting that holds a path."""

    cache: str = HOME


class Store:
    """A store with one sweep for each experiment, each trained with these seeds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tracker = Tracker.create(new_store(folder), "study", folder / "artifacts")
        self.splits = tiny.splits()
        self.classifier = tiny.classifier(self.splits)

    def train(self, name: str, experiment: Experiment, seeds: tuple[int, ...]) -> list[StoredRun]:
        """The runs of a sweep, in the order of seeds and chains."""
        params = {"family": "vae", "latent_dim": 2}
        cells = {cell_key(params): resolve(experiment, self.splits)}
        tags = {"study": "study", "dataset": "digits", "command": f"study.py --data-root {HOME}"}
        sweep = make_sweep(
            self.tracker, self.folder / name, cells, name, tags, seeds=seeds, stack_seeds=False
        )
        run_cell(params, sweep, self.splits, self.classifier, lambda _: None)
        runs = self.tracker.read_runs(name, METRICS)
        return sorted(runs, key=lambda run: (run.tags["seed"], run.tags["chain"]))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def runs(store: Store) -> list[StoredRun]:
    """Two seeds of a VAE: the run with the chain, then the run with reconstructions, of each."""
    return store.train("s", tiny.experiment(), (0, 1))


@pytest.fixture(scope="module")
def export(store: Store, runs: list[StoredRun], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of the first run."""
    folder = tmp_path_factory.mktemp("export") / "model"
    export_run(runs[0].run_id, folder, store.tracker.uri)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty GENAE_HOME, as on another machine."""
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files_of(folder: Path) -> dict[str, str]:
    """The sha256 of each file below a folder by its name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def draw(source: str, out: Path, count: int = 40, **flags: Any) -> dict[str, str]:
    """The samples of `genae sample`, as the sha256 of their files."""
    assert (
        sample.main(sample.Options(source=source, out=str(out), num_samples=count, **flags)) == 0
    )
    return {name: digest for name, digest in files_of(out).items() if name.endswith(".parquet")}


def test_an_export_holds_the_weights_the_card_and_samples(
    store: Store, runs: list[StoredRun], export: Path
) -> None:
    names = ["README.md", "checkpoint.json", "samples.png", "weights.safetensors"]
    assert sorted(path.name for path in export.iterdir()) == names
    strip = store.tracker.fetch(runs[0].run_id, "strip.png", store.folder)
    assert (export / "samples.png").read_bytes() == strip.read_bytes()
    original = store.tracker.fetch(runs[0].run_id, "checkpoint", store.folder / "fetched")
    assert weights_digest(load_model(export)) == weights_digest(load_model(original))
    weights = "weights.safetensors"
    assert (export / weights).read_bytes() == (original / weights).read_bytes()
    about = sealed.read(export / "checkpoint.json")
    assert about["sha256"] == files_of(export)[weights]
    assert about["export"]["recommended_step"] == runs[0].scalars["fcd_recommended_step"]


def test_the_card_has_the_figures_of_the_store(
    store: Store, runs: list[StoredRun], export: Path
) -> None:
    card = (export / "README.md").read_text()
    seeds, own = runs[::2], runs[0]
    (index,) = metadata_of(card)["model-index"]
    metrics = {each["name"]: each["value"] for each in index["results"][0]["metrics"]}
    assert metrics == {f"FCD at step {k}": own.chain["fcd"][k] for k in (0, 1, 3)}
    *rows, floor = rows_of(card, "step")
    for row, step in zip(rows, (0, 1, 3), strict=True):
        value, _, error = row[1].partition(" ± ")
        assert int(row[0]) == step
        assert float(value) == pytest.approx(own.chain["fcd"][step], rel=1e-3)
        assert float(error) == pytest.approx(own.chain["fcd_se"][step], rel=0.06)
        values = [run.chain["fcd"][step] for run in seeds]
        mean, _, spread = row[2].partition(" ± ")
        assert float(mean) == pytest.approx(np.mean(values), rel=0.02)
        assert float(spread) == pytest.approx(np.std(values, ddof=1), rel=0.1, abs=0.05)
        ratio = own.chain["fcd"][step] / own.scalars["fcd_floor"]
        assert float(row[3]) == pytest.approx(ratio, abs=0.006)
    assert float(floor[1]) == pytest.approx(own.scalars["fcd_floor"], rel=1e-3)
    assert f"**Step {own.scalars['fcd_recommended_step']:.0f}** is recommended" in card
    assert f"| run | {own.run_id} |" in card and "Number of seeds: 2." in card


def test_an_export_is_sampled_to_the_same_bytes_without_a_store(
    store: Store, runs: list[StoredRun], export: Path, elsewhere: Path
) -> None:
    moved = elsewhere / "a copy"
    shutil.copytree(export, moved)
    uri = store.tracker.uri
    for name, flags in (("plain", {}), ("other", {"seed": 7, "steps": 2})):
        by_run = draw(runs[0].run_id, elsewhere / f"run-{name}", tracking_uri=uri, **flags)
        assert by_run == draw(str(moved), elsewhere / f"export-{name}", **flags) and by_run
    # What one of them has begun, the other continues: they are the same job.
    assert draw(str(moved), elsewhere / "run-plain") == draw(
        str(moved), elsewhere / "export-plain"
    )
    assert not (elsewhere / "home" / "mlflow.db").exists()


def test_the_example_of_the_card_draws_the_same_images(export: Path, elsewhere: Path) -> None:
    card = (export / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0].replace('"FOLDER"', repr(str(export)))
    values: dict[str, Any] = {}
    exec(code.replace("num_chains=1000", "num_chains=10"), values)
    draw(str(export), elsewhere / "out", count=10)
    table = pq.read_table(elsewhere / "out" / "part-00000.parquet")
    stored = torch.tensor(table["image"].combine_chunks().storage.to_pylist(), dtype=torch.uint8)
    images = (values["images"].clamp(0, 1) * 255).round().byte()
    assert torch.equal(images.flatten(1), stored)


def test_an_evaluation_of_an_export_says_the_recommended_step_of_the_table_and_the_page(
    store: Store,
    runs: list[StoredRun],
    export: Path,
    elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = evaluate.Options(source=str(export), num_samples=100, out=elsewhere / "report.json")
    assert evaluate.main(options) == 0
    report = json.loads((elsewhere / "report.json").read_text())
    assert [at["step"] for at in report["steps"]] == [0, 1, 3]
    printed = capsys.readouterr().out
    assert "test images of digits" in printed
    # The step of the run's table, of its sweep's page and of its export.
    step = int(runs[0].scalars["fcd_recommended_step"])
    assert report["recommended_step"] == step
    assert f"recommended step of the run: {step}, {RECOMMENDED_IS}" in printed
    head, _, row, *_ = format_table(runs[:1]).splitlines()
    assert "recommended step" in head and int(row.split()[-4]) == step
    page = (elsewhere / "page.html").absolute()
    build(store.tracker.uri, ["s"], page)
    rows = data_of(page.read_text())["runs"]
    (row_of_page,) = [each for each in rows if each["id"] == runs[0].run_id]
    assert row_of_page["scalars"]["fcd_recommended_step"] == step


def test_no_image_of_the_data_is_exported(
    store: Store, runs: list[StoredRun], elsewhere: Path
) -> None:
    """The other chain of the model starts from training images, and its pictures may show them."""
    run = next(run for run in runs if run.tags["chain"].startswith("reconstruction"))
    made = export_run(run.run_id, elsewhere / "out", store.tracker.uri)
    assert made.sampling_words is None
    assert sorted(made.bytes_by_file) == ["README.md", "checkpoint.json", "weights.safetensors"]
    assert "samples.png" not in (elsewhere / "out" / "README.md").read_text()
    with pytest.raises(ValueError, match="this chain starts from images"):
        draw(str(elsewhere / "out"), elsewhere / "samples")


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """In the block, this program does not know these configs."""
    classes = {name: registry._classes.pop(name) for name in names}
    try:
        yield
    finally:
        registry._classes.update(classes)


def test_an_export_says_nothing_of_the_places_of_its_maker(store: Store, elsewhere: Path) -> None:
    """A model of a class of one's own, with images on a store, and a prior fitted to its codes."""
    base, root = tiny.experiment(), f"s3://jane:{SECRET}@bucket/pictures"
    chain = dataclasses.replace(base.chains[0], fitted_prior=ExPostMixture(components=2))
    model = OwnVAE(latent_dim=2, net=base.model.net)  # type: ignore[attr-defined]
    data = RootedDigits(root=root)
    own = dataclasses.replace(base, model=model, data=data, chains=(chain,))
    (run,) = store.train("own", own, (0,))
    folder = elsewhere / "out"
    with without("test_export.vae", "test_export.rooted_digits"):
        made = export_run(run.run_id, folder, store.tracker.uri)
        with pytest.raises(
            ValueError, match="test_exported_model.OwnVAE in test_exported_model.py"
        ):
            load_model(folder)
    assert made.needed == ["model.cache"]
    flags = ["--data-root", "DIR", "--trust", "test_exported_model.py"]
    assert made.sampling_words == flags
    for path in folder.iterdir():
        for text in ("jane", SECRET, "bucket", str(Path(__file__).parent), str(store.folder)):
            assert text.encode() not in path.read_bytes(), path
    about = sealed.read(folder / "checkpoint.json")
    assert about["export"]["experiment"]["data"]["root"] == "***"
    (definition,) = about["own_code"].values()
    assert definition["file"] == "test_exported_model.py" and len(definition["sha256"]) == 64
    card = (folder / "README.md").read_text()
    assert "--data-root DIR --trust test_exported_model.py" in card

    assert load_model(folder).latent_prior().mean.shape == (2,)
    with pytest.raises(ValueError, match="does not say where its images lie; give --data-root"):
        draw(str(folder), elsewhere / "samples")
    uri, place = store.tracker.uri, str(elsewhere)
    by_run = draw(run.run_id, elsewhere / "by-run", tracking_uri=uri, data_root=place)
    assert draw(str(folder), elsewhere / "by-export", data_root=place) == by_run


def load_generator(path: Path, shape: Shape) -> WrappedDecoder:
    net = nn.Sequential(nn.Linear(2, 64), nn.Sigmoid(), nn.Unflatten(1, shape))
    net.load_state_dict(load_file(path))
    return wrap(net, None, net, latent_dim=2, shape=shape)


def test_a_decoder_of_another_package_is_exported_with_its_file(
    store: Store, elsewhere: Path
) -> None:
    place = elsewhere / "jane" / "net.safetensors"
    place.parent.mkdir()
    with Draw(0).as_global():
        save_file({"0.weight": torch.randn(64, 2), "0.bias": torch.zeros(64)}, place)
    base = tiny.experiment()
    chain = dataclasses.replace(base.chains[0], sampler=Ancestral(), record=(0,))
    model = wrapped_config(place, load_generator, (1, 8, 8), "gan")
    (run,) = store.train(
        "gan", dataclasses.replace(base, model=model, training=None, chains=(chain,)), (0,)
    )
    made = export_run(run.run_id, elsewhere / "out", store.tracker.uri)
    assert made.files == ["net.safetensors"] and made.needed == []
    assert made.title == "gan (decoder alone) with 2 latent dimensions, measured on digits"
    for path in (elsewhere / "out").iterdir():
        assert b"jane" not in path.read_bytes(), path
    place.unlink()
    by_run = draw(run.run_id, elsewhere / "by-run", tracking_uri=store.tracker.uri)
    assert draw(str(elsewhere / "out"), elsewhere / "by-export") == by_run


def test_nothing_is_replaced(store: Store, runs: list[StoredRun], elsewhere: Path) -> None:
    run_id, uri = runs[0].run_id, store.tracker.uri
    full, file = elsewhere / "full", elsewhere / "file"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    with pytest.raises(ValueError, match="--out must be empty .*holds mine, got out='.*full'"):
        export_run(run_id, full, uri)
    with pytest.raises(ValueError, match="--out must be a folder"):
        export_run(run_id, file, uri)
    assert files_of(full).keys() == {"mine"} and file.read_text() == "mine"
    empty = elsewhere / "empty"
    empty.mkdir()
    node = empty.stat().st_ino
    export_run(run_id, empty, uri)
    assert empty.stat().st_ino == node and len(files_of(empty)) == 4


def test_what_cannot_be_exported_is_named(
    store: Store, runs: list[StoredRun], export: Path, elsewhere: Path
) -> None:
    uri, tracker, out = store.tracker.uri, store.tracker, elsewhere / "out"
    summary = tracker.start("summary-s", "s: summary", {"summary": "s"}, {}, 0).run_id
    other = tracker.start("other", "other", {}, {}, 0).run_id
    failed = tracker.start("failed", "failed", {"sweep": "f"}, {}, 0).run_id
    for run_id, status in ((summary, "FINISHED"), (other, "FINISHED"), (failed, "FAILED")):
        tracker.finish(run_id, status)
    for run_id, words in (
        ("0123456789abcdef", "no run '0123456789abcdef'"),
        (summary, "it is the summary of the sweep 's'; give the id of one of the sweep's runs"),
        (other, "has no checkpoint: it does not belong to a genae sweep"),
        (failed, "has no result: its status is FAILED"),
        (str(export), "an export is made of a run: give the id of an MLflow run"),
    ):
        with pytest.raises(ValueError, match=words):
            export_run(run_id, out, uri)
    assert not out.exists()


def test_damage_is_one_message(export: Path, elsewhere: Path) -> None:
    copy, out = elsewhere / "copy", elsewhere / "samples"

    def refused(words: str) -> None:
        with pytest.raises(ValueError, match=words):
            draw(str(copy), out)
        assert not out.exists() or not files_of(out)

    shutil.copytree(export, copy)
    weights, about = copy / "weights.safetensors", copy / "checkpoint.json"
    content, text = weights.read_bytes(), about.read_text()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused("is not the file that was written: its sha256 is .* or fetch it again")
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused("it only names the weights: fetch them with `git lfs pull`")
    weights.write_bytes(content)
    about.write_text(text.replace('"recommended_step": ', '"recommended_step": 1'))
    refused("checkpoint.json is damaged: its values are not those that were written")
    about.write_text(text)
    reseal(about, export={"run": "abc"})
    refused(r"checkpoint.json holds no whole export: KeyError\('experiment'\)")
    about.unlink()
    refused("no readable checkpoint in .*copy: it has no checkpoint.json")


def test_the_job_prints_what_it_wrote(
    store: Store, runs: list[StoredRun], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(*flags: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["export.py", *flags])
        printed = io.StringIO()
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            pytest.raises(SystemExit) as ended,
        ):
            runpy.run_path(str(ROOT / "jobs" / "export.py"), run_name="__main__")
        return int(ended.value.code or 0), printed.getvalue()

    flags = (runs[0].run_id, "--out", "new/model", "--tracking-uri", store.tracker.uri)
    code, printed = job(*flags)
    assert code == 0, printed
    lines = printed.splitlines()
    assert lines[0] == "DVAE with 2 latent dimensions, trained on digits"
    assert [line.split()[0] for line in lines[1:5]] == sorted(files_of(elsewhere / "new/model"))
    assert str(elsewhere / "new/model") in lines and "state the licence" in printed
    assert f"sample {elsewhere}/new/model --num-samples 1000 --out SAMPLES" in lines[-1]
    code, printed = job(*flags)
    assert code == 2 and printed.startswith("error: --out must be empty or not exist")
    assert printed.count("\n") == 1
