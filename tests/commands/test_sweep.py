"""`genae sweep` through its real entry point, beside the Python study that says the same."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from contracts import scripts
from contracts.databases import new_store
from contracts.scripts import environment
from mlflow.entities import Run
from running import ONE, client_of, trials_of

pytestmark = pytest.mark.slow

GENAE = """
import sys
from genae_core.commands.entry import main
if __name__ == "__main__":
    sys.exit(main())
"""
# The study that a user would write for the same grid.
STUDY = '''
"""Three axes."""
import sys
from dataclasses import dataclass, replace
import genae_core as genae
from genae_core import recipes, sweep
from genae_core.config.cli import cli
from genae_core.recipes.options import StudyOptions as Options

def main(options):
    chain = recipes.dataset_recipe(options).chain()

    def experiment(params):
        parts = recipes.study_parts(options, params["family"])
        parts = replace(parts, settings={"beta": params["beta"]})
        one = recipes.study_experiment(
            options, params["family"], params["latent_dim"], (chain,), parts
        )
        return replace(one, training=replace(one.training, epochs=params["epochs"]))

    axes = {"family": ("vae",), "latent_dim": (2, 3), "beta": (0.5, 1.0), "epochs": (1, 2)}
    return sweep.launch("sweep", axes, experiment, options)

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
'''
AXES = ("--axis", "model.latent_dim", "2", "3", "--axis", "model.beta", "0.5", "1")
AXES += ("--axis", "training.epochs", "1", "2")


def run(folder: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a script of these lines in a folder, which is also GENAE_HOME."""
    folder.mkdir(exist_ok=True)
    if not (folder / "mlflow.db").exists():
        new_store(folder)
    (folder / "script.py").write_text(text)
    path = str(folder / "script.py")
    return scripts.run(path, *flags, variables=environment(folder), cwd=folder)


def runs_of(folder: Path, sweep: str) -> dict[str, Run]:
    """The finished runs of a sweep, by their keys."""
    client = client_of(folder)
    experiment = client.get_experiment_by_name("sweep")
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    return {run.data.tags["key"]: run for run in runs if run.data.tags["sweep"] == sweep}


def result(run: Run) -> dict[str, Any]:
    """What a run found, without the time that it took."""
    return {n: v for n, v in run.data.metrics.items() if "second" not in n and "peak" not in n}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The homes of the command and of the study, which have run the same grid."""
    folder = tmp_path_factory.mktemp("grids")
    by_command, by_study = folder / "command", folder / "study"
    flags = ("--smoke", "--name", "grid", *ONE)
    done = run(by_command, GENAE, "sweep", *AXES, "--family", "vae", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(by_study, STUDY, "--families", "vae", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    return by_command, by_study


def test_three_axes_give_the_cells_the_keys_and_the_numbers_of_the_study(
    homes: tuple[Path, Path],
) -> None:
    command, study = (runs_of(home, "grid") for home in homes)
    assert len(command) == 8 and command.keys() == study.keys()
    for key, one in command.items():
        other = study[key]
        assert one.info.status == other.info.status == "FINISHED"
        for tag in ("cell", "chain", "seed", "family", "latent_dim", "study"):
            assert one.data.tags[tag] == other.data.tags[tag]
        assert one.data.params == other.data.params
        assert result(one) == result(other) and "fcd_best" in one.data.metrics


def test_a_run_is_the_base_of_another_grid(homes: tuple[Path, Path]) -> None:
    home = homes[0]
    first = next(
        run
        for run in runs_of(home, "grid").values()
        if run.data.params["training.epochs"] == "1" and run.data.params["model.beta"] == "0.5"
    )
    flags = ("--axis", "training.epochs", "1", "3", "--name", "again", *ONE)
    done = run(home, GENAE, "sweep", "--from", first.info.run_id, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"base:   run {first.info.run_id}: " in done.stdout
    assert f"VAE {first.data.tags['latent_dim']} on digits" in done.stdout
    again = {run.data.params["training.epochs"]: run for run in runs_of(home, "again").values()}
    assert again.keys() == {"1", "3"}
    assert result(again["1"]) == result(first)
    assert result(again["3"]) != result(first)
    for name, value in first.data.params.items():
        if name != "training.epochs":
            assert again["3"].data.params[name] == value


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--axis", "model.betta", "1"), "did you mean model.beta"),
        (("--axis", "model.beta", "high"), "model.beta must be a number, got model.beta=high"),
        (("--axis", "model.beta"), "--axis model.beta needs at least one value"),
        (("--axis", "model.latent_dim", "0"), "latent_dim must be a whole number >= 1"),
        ((*AXES, "--axis", "model.beta", "3"), "--axis names model.beta twice"),
        ((*AXES, "--family", "vae", "aae"), "aae has no such setting, and vae has it"),
        (("--from", "no-run", "--axis", "training.epochs", "1"), "no run 'no-run' in sqlite:"),
    ],
)
def test_a_bad_grid_is_refused_before_anything_runs(
    flags: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = run(tmp_path, GENAE, "sweep", *flags, *ONE)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "sweeps").exists()


def test_the_cells_are_shown_before_they_run(tmp_path: Path) -> None:
    done = run(tmp_path, GENAE, "sweep", *AXES, "--smoke", "--print")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("latent_dim=") == 8 and "vae beta=0.5" in done.stdout
