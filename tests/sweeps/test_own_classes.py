"""Parts of a user's own, in a script in a folder of its own: swept, searched, sampled, resumed."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from contracts import scripts
from contracts.databases import new_store
from mlflow.entities import Run
from running import ONE, ROOT, client_of, environment, trials_of

pytestmark = pytest.mark.slow

STUDY = '''
"""Models, data and samplers of my own."""

import dataclasses
import sys

from my_family import LinearConfig
from my_parts import MyDigits, MyNet, MyPrior, MySampler

import genae_core as genae
from genae_core import sweep
from genae_core.config.cli import cli
from genae_core.testing import tiny


@genae.register("my_linear_ae")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MyConfig(LinearConfig):
    """The family of the module beside this script, under a name of this script."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(genae.LaunchOptions):
    """The flags of this study."""


def experiment(cell):
    base = tiny.experiment()
    (chain,) = base.chains[:1]
    part = cell.get("part", "model")
    if part == "model":
        model = MyConfig(latent_dim=cell["latent_dim"])
        return dataclasses.replace(base, model=model, chains=(chain,))
    vae = genae.VAEConfig(latent_dim=2)
    if part == "others":
        vae = genae.VAEConfig(latent_dim=2, net=MyNet(), prior=MyPrior())
        chain = dataclasses.replace(chain, sampler=MySampler())
    return dataclasses.replace(base, data=MyDigits(), model=vae, chains=(chain,))


def suggest(trial):
    trial.suggest_int("latent_dim", 2, 5)


def grid(options):
    axes = {"part": ("model", "data", "others"), "latent_dim": (2,)}
    return genae.launch("mine", axes, experiment, options)


def search(options):
    space = sweep.SearchSpace(first={"latent_dim": 2}, suggest=suggest, experiment=experiment)
    return sweep.search("notebook", space, options, 5.0, 2, lambda *_: None)


if __name__ == "__main__":
    sys.exit(cli(Options, grid, __doc__))
'''


# A dataset, a prior, a sampler and a network, in a module beside the script.
PARTS = '''
"""Parts of my own."""

from dataclasses import dataclass

from torch import nn

import genae_core as genae
from genae_core.data.digits import DigitsConfig
from genae_core.priors.normal import IsotropicNormal
from genae_core.samplers.base import chain_at, start_latents


@genae.register("lab.digits")
@dataclass(frozen=True, kw_only=True)
class MyDigits:
    name = "my_digits"
    shape = (1, 8, 8)
    binarize: bool = False

    def stamp(self):
        return DigitsConfig().stamp()

    def source(self):
        return DigitsConfig().source()


@genae.register("lab.prior")
@dataclass(frozen=True, kw_only=True)
class MyPrior:
    def build(self, latent_dim, host=None):
        return IsotropicNormal(latent_dim)


@genae.register("lab.net")
@dataclass(frozen=True, kw_only=True)
class MyNet:
    def build_encoder(self, shape, out_dim):
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], out_dim))

    def build_decoder(self, in_dim, shape):
        size = shape[0] * shape[1] * shape[2]
        return nn.Sequential(nn.Linear(in_dim, size), nn.Unflatten(1, shape))


@genae.register("lab.sampler")
@dataclass(frozen=True, kw_only=True)
class MySampler:
    starts_from = "prior"
    couples = True

    def init(self, model, start, draw):
        return chain_at(model, start_latents(model, start, draw), "mean", draw)

    def step(self, model, chain, draw):
        return chain_at(model, model.encode(chain.x).sample(draw), "mean", draw)
'''

GENAE = """
import sys
from genae_core.commands.entry import main
if __name__ == "__main__":
    sys.exit(main())
"""
LOAD = """
import sys, mlflow, genae_core as g
store, run_id, *trusted = sys.argv[1:]
mlflow.set_tracking_uri(store)
path = mlflow.artifacts.download_artifacts(
    run_id=run_id, artifact_path="checkpoint", dst_path="fetched"
)
for code in trusted:
    g.trust(code)
print(type(g.load_model(path)).__name__)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = (ROOT / "tests" / "testing" / "test_outside.py").read_text()
    family = source.split("FAMILY = '''")[1].split("'''")[0]
    folder = tmp_path_factory.mktemp("outside")
    (folder / "my_family.py").write_text(family)
    (folder / "my_study.py").write_text(STUDY)
    (folder / "my_parts.py").write_text(PARTS)
    (folder / "genae.py").write_text(GENAE)
    (folder / "load.py").write_text(LOAD)
    new_store(folder)
    return folder


def python(folder: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = str(folder / script)
    return scripts.run(path, *words, variables=environment(folder), cwd=folder)


def runs_of(folder: Path, study: str) -> list[Run]:
    client = client_of(folder)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    return [run for run in runs if run.data.tags["stage"] == "model"]


@pytest.fixture(scope="module")
def grid(folder: Path) -> dict[str, Run]:
    """The runs of a grid over own parts, by the part that is one's own."""
    done = python(folder, "my_study.py", "--name", "grid", *ONE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 trials, 0 failed; 3 finished runs" in done.stdout and "warning" not in done.stderr
    return {json.loads(run.data.tags["cell"])["part"]: run for run in runs_of(folder, "mine")}


def test_a_grid_of_own_models_can_be_sampled_by_who_trusts_the_code(
    folder: Path, grid: dict[str, Run]
) -> None:
    run = grid["model"]
    assert run.info.status == "FINISHED" and run.data.tags["family"] == "LinearAE"
    sample = ("sample", run.info.run_id, "--num-samples", "50", "--out", "out")

    refused = python(folder, "genae.py", *sample)
    assert refused.returncode == 2 and not (folder / "out").exists()
    (line,) = refused.stderr.splitlines()
    assert (
        "no config 'my_linear_ae' in this program" in line
        and f"my_study.MyConfig in {folder}/my_study.py" in line
    )
    assert line.startswith("error: ") and f"--trust {folder}/my_study.py" in line

    done = python(folder, "genae.py", *sample, "--trust", "my_study.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(pq.read_metadata(part).num_rows for part in (folder / "out").glob("part-*")) == 50


def test_parts_of_ones_own(folder: Path, grid: dict[str, Run]) -> None:
    """A run whose data alone is one's own is sampled without its code, since no sample needs the
    data; all else asks for the code by name. The workers of an evaluation get it too."""
    data, others = grid["data"].info.run_id, grid["others"].info.run_id
    definitions = json.loads(grid["others"].data.tags["own_code"])
    file = str(folder / "my_parts.py")
    assert set(definitions) == {"lab.digits", "lab.prior", "lab.net", "lab.sampler"}
    assert {about["file"] for about in definitions.values()} == {file}
    assert definitions["lab.net"]["class"] == "my_parts.MyNet"

    done = python(folder, "genae.py", "sample", data, "--num-samples", "20", "--out", "of_data")
    assert done.returncode == 0, done.stdout + done.stderr
    for command in (
        ("evaluate", data, "--num-samples", "100"),
        ("sample", others, "--num-samples", "20", "--out", "of_others"),
    ):
        done = python(folder, "genae.py", *command)
        assert done.returncode == 2, done.stdout
        (line,) = done.stderr.splitlines()
        assert f"in {file}" in line and f"--trust {file}" in line

    many = ("evaluate", others, "--num-samples", "20100", "--out", "report.json")
    done = python(folder, "genae.py", *many, "--trust", "my_parts.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "report.json").read_text())["num_samples"] == 20100


def test_a_checkpoint_of_ones_own_is_loaded_and_says_that_its_code_has_changed(
    folder: Path, grid: dict[str, Run]
) -> None:
    load = ("load.py", f"sqlite:///{folder}/mlflow.db", grid["model"].info.run_id)
    done = python(folder, *load)
    assert f"genae_core.trust('{folder}/my_study.py')" in done.stderr
    done = python(folder, *load, "my_study.py")
    assert done.stdout.splitlines()[-1] == "Linear" and "has changed" not in done.stderr
    script = folder / "my_study.py"
    script.write_text(script.read_text() + "# a later thought\n")
    done = python(folder, *load, "my_study.py")
    assert done.stdout.splitlines()[-1] == "Linear"
    assert f"warning: {script}, which defines MyConfig, has changed since" in done.stderr
    done = python(folder, "my_study.py", "--name", "grid", "--resume", *ONE)
    assert done.returncode == 0 and f"warning: {script}, which defines" in done.stderr


def test_a_notebook_searches_and_is_warned_that_only_it_can_load_its_models(
    folder: Path,
) -> None:
    """Code that Python reads from its input lies in no file, like that of a notebook."""
    cells = STUDY.split("if __name__")[0] + (
        "options = Options(name='notebook', trials_in_parallel=1, precision='fp32')\n"
        "assert search(options) == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-"],
        input=cells,
        env={**environment(folder), "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    warning = "MyConfig can be loaded in this process only: it is defined in a notebook"
    assert warning in done.stderr and "2 trials, 0 failed; 2 finished runs" in done.stdout
    runs = runs_of(folder, "notebook")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    dims = {json.loads(run.data.tags["cell"])["latent_dim"] for run in runs}
    assert 2 in dims and dims <= {2, 3, 4, 5}
    for run in runs:
        about = json.loads(run.data.tags["own_code"])["my_linear_ae"]
        assert about == {"class": "__main__.MyConfig", "file": "", "sha256": ""}
