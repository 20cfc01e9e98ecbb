"""Parts of a user's own, in a script in a folder of its own: swept, searched, sampled, resumed."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from contracts import scripts
from contracts.databases import new_store
from contracts.lab import STUDY, write_lab
from contracts.pages import data_of
from mlflow.entities import Run
from running import ONE, ROOT, client_of, environment, trials_of

pytestmark = pytest.mark.slow

GENAE = """
import sys
from contracts.pages import data_of
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
    folder = tmp_path_factory.mktemp("outside")
    write_lab(folder)
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
    parts = ("digits", "metric", "net", "prior", "sampler")
    assert set(definitions) == {f"lab.{part}" for part in parts}
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
    report = json.loads((folder / "report.json").read_text())
    assert report["num_samples"] == 20100 and 0 < report["metric_floors"]["brightness"] < 1
    for at in report["steps"]:
        logged = client_of(folder).get_metric_history(others, "chain/brightness")
        (value,) = (metric.value for metric in logged if metric.step == at["step"])
        assert at["brightness"] == pytest.approx(value, abs=0.02) and at["brightness_se"] < 0.01


def test_a_metric_of_ones_own_is_in_the_table_and_on_the_page(
    folder: Path, grid: dict[str, Run]
) -> None:
    """Also beside runs without it. They are shown with a dash."""
    metrics = grid["others"].data.metrics
    assert json.loads(grid["others"].data.tags["own_metrics"]) == {"brightness": "higher"}
    assert not any("brightness" in name for name in grid["data"].data.metrics)
    (table,) = folder.rglob("sweeps/grid/table.txt")
    lines = table.read_text().splitlines()
    assert lines[0].endswith("brightness step 0  brightness best step")
    cells = {line.split()[-2] for line in lines[2:5]}
    assert cells == {"-", f"{metrics['brightness_step0']:.2f}"}
    floor = metrics["brightness_floor"]
    assert f"brightness: higher is better; real images {floor:.2f}" in lines
    page = data_of((table.parent / "explorer.html").read_text())
    assert page["ownMetrics"] == {"brightness": "higher"}
    assert (table.parent / "curves-brightness.png").is_file()


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
    runs = runs_of(folder, "search")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    dims = {json.loads(run.data.tags["cell"])["latent_dim"] for run in runs}
    assert 2 in dims and dims <= {2, 3, 4, 5}
    for run in runs:
        assert 0 < run.data.metrics["brightness_step0"] < 1
        about = json.loads(run.data.tags["own_code"])["my_linear_ae"]
        assert about == {"class": "__main__.MyConfig", "file": "", "sha256": ""}
