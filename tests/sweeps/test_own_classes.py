"""A model of a user's own, in a script in a folder of its own: swept, searched and sampled."""

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = (ROOT / "tests" / "testing" / "test_outside.py").read_text()
    family = source.split("FAMILY = '''")[1].split("'''")[0]
    folder = tmp_path_factory.mktemp("outside")
    (folder / "my_family.py").write_text(family)
    (folder / "my_study.py").write_text(STUDY)
    new_store(folder)
    return folder


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={**environment(folder), "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def runs_of(folder: Path, sweep: str) -> list[Run]:
    client = client_of(folder)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    return [
        run
        for run in trials_of(client, experiment.experiment_id)
        if run.data.tags["sweep"] == sweep and run.data.tags["stage"] == "model"
    ]


def test_a_grid_of_own_models_can_be_sampled_by_who_trusts_the_code(folder: Path) -> None:
    done = python(folder, "my_study.py", "--name", "grid", *ONE)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs_of(folder, "grid")
    assert run.info.status == "FINISHED" and run.data.tags["family"] == "LinearAE"
    sample = ("-m", "genae_core", "sample", run.info.run_id, "--num-samples", "50", "--out", "out")

    refused = python(folder, *sample)
    assert refused.returncode == 2 and not (folder / "out").exists()
    (line,) = refused.stderr.splitlines()
    assert "no config 'my_linear_ae' in this program" in line and "--trust FILE" in line

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
