"""Parts of a user's own, in a script in a folder of its own: swept, searched, sampled, resumed."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from contracts.databases import new_store
from mlflow.entities import Run
from running import ONE, ROOT, client_of, environment, trials_of

pytestmark = pytest.mark.slow

STUDY = '''
"""Linear autoencoders of my own."""

import dataclasses
import sys

from my_family import LinearConfig

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

    kind: str = "grid"
    """grid or search."""


def experiment(cell):
    base = tiny.experiment()
    model = MyConfig(latent_dim=cell["latent_dim"])
    return dataclasses.replace(base, model=model, chains=base.chains[:1])


def suggest(trial):
    trial.suggest_int("latent_dim", 2, 5)


def main(options):
    if options.kind == "grid":
        return genae.launch("mine", {"latent_dim": (2,)}, experiment, options)
    space = sweep.SearchSpace(first={"latent_dim": 2}, suggest=suggest, experiment=experiment)
    return sweep.search("mine", space, options, 5.0, 2, lambda *_: None)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
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

PARTS_STUDY = '''
"""A VAE of genae's with parts of my own."""

import dataclasses
import sys

from my_parts import MyDigits, MyNet, MyPrior, MySampler

import genae_core as genae
from genae_core.config.cli import cli
from genae_core.testing import tiny


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(genae.LaunchOptions):
    """The flags of this study."""


def experiment(cell):
    base = tiny.experiment()
    vae = genae.VAEConfig(latent_dim=2)
    chain = base.chains[0]
    if cell["part"] == "data":
        return dataclasses.replace(base, data=MyDigits(), model=vae, chains=(chain,))
    vae = genae.VAEConfig(latent_dim=2, net=MyNet(), prior=MyPrior())
    own = dataclasses.replace(chain, sampler=MySampler())
    return dataclasses.replace(base, data=MyDigits(), model=vae, chains=(own,))


def main(options):
    return genae.launch("parts", {"part": ("data", "others")}, experiment, options)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = (ROOT / "tests" / "testing" / "test_outside.py").read_text()
    family = source.split("FAMILY = '''")[1].split("'''")[0]
    folder = tmp_path_factory.mktemp("outside")
    (folder / "my_family.py").write_text(family)
    (folder / "my_study.py").write_text(STUDY)
    (folder / "my_parts.py").write_text(PARTS)
    (folder / "parts_study.py").write_text(PARTS_STUDY)
    new_store(folder)
    return folder


def python(folder: Path, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        input=text,
        env={**environment(folder), "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def runs_of(folder: Path, sweep: str, study: str = "mine") -> list[Run]:
    client = client_of(folder)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return [
        run
        for run in trials_of(client, experiment.experiment_id)
        if run.data.tags["sweep"] == sweep and run.data.tags["stage"] == "model"
    ]


@pytest.fixture(scope="module")
def grid(folder: Path) -> Run:
    """The run of a grid with one cell."""
    done = python(folder, "my_study.py", "--name", "grid", *ONE)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs_of(folder, "grid")
    return run


def test_a_grid_of_own_models_can_be_sampled_by_who_trusts_the_code(
    folder: Path, grid: Run
) -> None:
    run = grid
    assert run.info.status == "FINISHED" and run.data.tags["family"] == "LinearAE"
    sample = ("-m", "genae_core", "sample", run.info.run_id, "--num-samples", "50", "--out", "out")

    refused = python(folder, *sample)
    assert refused.returncode == 2 and not (folder / "out").exists()
    (line,) = refused.stderr.splitlines()
    assert (
        "no config 'my_linear_ae' in this program" in line
        and f"my_study.MyConfig in {folder}/my_study.py" in line
    )
    assert line.startswith("error: ") and f"--trust {folder}/my_study.py" in line

    done = python(folder, *sample, "--trust", "my_study.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(pq.read_metadata(part).num_rows for part in (folder / "out").glob("part-*")) == 50


def test_a_search_over_own_models(folder: Path) -> None:
    done = python(folder, "my_study.py", "--kind", "search", "--name", "search", *ONE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials, 0 failed; 2 finished runs" in done.stdout
    runs = runs_of(folder, "search")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    dims = {json.loads(run.data.tags["cell"])["latent_dim"] for run in runs}
    assert 2 in dims and dims <= {2, 3, 4, 5}


def test_parts_of_ones_own(folder: Path) -> None:
    """A run whose data alone is one's own is sampled without its code, since no sample needs the
    data; all else asks for the code by name. The workers of an evaluation get it too."""
    done = python(folder, "parts_study.py", "--name", "parts", *ONE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials, 0 failed; 2 finished runs" in done.stdout and "warning" not in done.stderr
    by_part = {
        json.loads(run.data.tags["cell"])["part"]: run for run in runs_of(folder, "parts", "parts")
    }
    data, others = by_part["data"].info.run_id, by_part["others"].info.run_id
    definitions = json.loads(by_part["others"].data.tags["own_code"])
    file = str(folder / "my_parts.py")
    assert set(definitions) == {"lab.digits", "lab.prior", "lab.net", "lab.sampler"}
    assert {about["file"] for about in definitions.values()} == {file}
    assert definitions["lab.net"]["class"] == "my_parts.MyNet"
    genae = ("-m", "genae_core")

    done = python(folder, *genae, "sample", data, "--num-samples", "20", "--out", "of_data")
    assert done.returncode == 0, done.stdout + done.stderr
    for command in (
        ("evaluate", data, "--num-samples", "100"),
        ("sample", others, "--num-samples", "20", "--out", "of_others"),
    ):
        done = python(folder, *genae, *command)
        assert done.returncode == 2, done.stdout
        (line,) = done.stderr.splitlines()
        assert f"in {file}" in line and f"--trust {file}" in line

    many = ("evaluate", others, "--num-samples", "20100", "--out", "report.json")
    done = python(folder, *genae, *many, "--trust", "my_parts.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "report.json").read_text())["num_samples"] == 20100


def test_a_checkpoint_of_ones_own_is_loaded_and_says_that_its_code_has_changed(
    folder: Path, grid: Run
) -> None:
    run = grid
    uri = f"sqlite:///{folder}/mlflow.db"
    load = (
        "import sys, mlflow, genae_core as g\n"
        f"mlflow.set_tracking_uri({uri!r})\n"
        f"path = mlflow.artifacts.download_artifacts(run_id={run.info.run_id!r}, "
        "artifact_path='checkpoint', dst_path=sys.argv[1])\n"
        "[g.trust(code) for code in sys.argv[2:]]\n"
        "print(type(g.load_model(path)).__name__)\n"
    )
    done = python(folder, "-c", load, "fetched")
    assert f"genae_core.trust('{folder}/my_study.py')" in done.stderr
    done = python(folder, "-c", load, "fetched", "my_study.py")
    assert done.stdout.splitlines()[-1] == "Linear" and "has changed" not in done.stderr
    script = folder / "my_study.py"
    script.write_text(script.read_text() + "# a later thought\n")
    done = python(folder, "-c", load, "fetched", "my_study.py")
    assert done.stdout.splitlines()[-1] == "Linear"
    assert f"warning: {script}, which defines MyConfig, has changed since" in done.stderr
    done = python(folder, "my_study.py", "--name", "grid", "--resume", *ONE)
    assert done.returncode == 0 and f"warning: {script}, which defines" in done.stderr


def test_a_notebook_is_warned_that_only_it_can_load_its_models(folder: Path) -> None:
    """Code that Python reads from its input lies in no file, like that of a notebook."""
    cells = STUDY.split("if __name__")[0] + (
        "options = Options(name='notebook', trials_in_parallel=1, precision='fp32')\n"
        "assert genae.launch('notebook', {'latent_dim': (2,)}, experiment, options) == 0\n"
    )
    done = python(folder, "-", text=cells)
    assert done.returncode == 0, done.stdout + done.stderr
    warning = "MyConfig can be loaded in this process only: it is defined in a notebook"
    assert warning in done.stderr and "1 finished runs" in done.stdout
    (run,) = runs_of(folder, "notebook", "notebook")
    about = json.loads(run.data.tags["own_code"])["my_linear_ae"]
    assert about == {"class": "__main__.MyConfig", "file": "", "sha256": ""}
