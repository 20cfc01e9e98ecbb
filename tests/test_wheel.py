"""The wheel, installed where there is no repository: its commands work, and name commands."""

import json
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from contracts import scripts
from contracts.lab import write_lab
from contracts.scripts import ROOT, environment
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

NAMED = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `genae` of a wheel, in an environment that has the packages of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source = folder / "source"
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listing.split("\0")):
        if name.startswith("genae_core/") or name in ("pyproject.toml", "README.md", "LICENSE"):
            if (ROOT / name).is_file():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes((ROOT / name).read_bytes())
    flags = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "wheel", *flags, str(source)], check=True)
    (wheel,) = folder.glob("genae-*.whl")
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    places = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", "venv", places))
    # Behind the wheel's own genae_core, which therefore wins.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = environment / "bin" / "python"
    install = ["install", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    subprocess.run([*pip, "--python", str(python), *install], check=True)
    return environment / "bin" / "genae"


def genae(program: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in an empty folder."""
    python = str(program.with_name("python"))
    variables = environment(home / "home", python)
    return scripts.run(str(program), *words, variables=variables, cwd=home, python=python)


@pytest.mark.slow
def test_an_installed_genae_trains_samples_and_shows(program: Path, tmp_path: Path) -> None:
    """Everything that a new user does, in an empty folder."""
    where = genae(program, tmp_path, "doctor")
    assert where.returncode == 0, where.stdout + where.stderr
    flags = ("--trials-in-parallel", "1", "--precision", "fp32", "--epochs", "1", "--smoke")
    grid = ("--axis", "model.latent_dim", "2", "--name", "first", *flags)
    trained = genae(program, tmp_path, "sweep", *grid)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "see it: genae ui" in trained.stdout
    (run,) = finished(MlflowClient(f"sqlite:///{tmp_path}/home/mlflow.db"), "sweep")
    run_id = run.info.run_id
    for words, told in (
        (("sample", run_id, "--num-samples", "20", "--steps", "1", "--out", "samples"), "samples"),
        (("evaluate", run_id, "--num-samples", "200", "--steps", "0", "1"), "FCD"),
        (("explorer", "--print"), "explorer.html"),
        (("explorer", "--sweep", "first", "--out", "page.html"), "page.html: 1 finished runs"),
        (("replay", "home/sweeps/first"), "0 runs have something to deliver"),
        (("train-classifier", "--classifier", "shipped"), "accurate on"),
        (("search", "--print", "--families", "vae"), "vae"),
        (("node", "status"), "down; start it with genae node up"),
        (("prepare", "image_folder", "--raw", "nowhere", "--out", "shards"), "nowhere"),
        (("submit", "--", "x.py"), "run this in a git checkout"),
        (("watch", "--prometheus", "/nowhere"), "prometheus"),
    ):
        done = genae(program, tmp_path, *words)
        printed = done.stdout + done.stderr
        assert told in printed and "Traceback" not in printed, (words, printed)
        refused = {"node": 1, "prepare": 2, "submit": 2, "watch": 2}
        assert done.returncode == refused.get(words[0], 0), (words, printed)
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.mark.slow
def test_it_is_the_wheel_that_runs(program: Path, tmp_path: Path) -> None:
    script = tmp_path / "where.py"
    script.write_text(
        "import genae_core, genae_core.report as r; print(genae_core.__file__, r.__path__[0])"
    )
    python = str(program.with_name("python"))
    variables = environment(tmp_path, python)
    done = scripts.run(str(script), variables=variables, cwd=tmp_path, python=python)
    module, report = done.stdout.split()
    shipped = Path(module).parent / "metrics" / "shipped"
    source = ROOT / "genae_core" / "metrics" / "shipped"
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    assert files and all((shipped / file).is_file() for file in files)
    assert Path(module).is_relative_to(program.parents[1])
    for name in ("grafana/sweep.json", "grafana/provisioning", "explorer/page.html"):
        assert (Path(report) / name).exists(), name


@pytest.mark.faults
def test_a_study_of_ones_own_from_the_grid_to_the_cluster(program: Path, tmp_path: Path) -> None:
    """A user's own model, prior, network, sampler, dataset and metric, with an installed genae:
    swept, searched, killed, continued, sampled, evaluated, shown, exported, and run as a job."""
    lab = tmp_path / "lab"
    lab.mkdir()
    write_lab(lab)
    for words in (("init", "-q"), ("add", "."), (*NAMED, "commit", "-q", "-m", "my study")):
        subprocess.run(["git", *words], cwd=lab, check=True)
    python = program.with_name("python")
    variables = environment(tmp_path / "home", str(python))

    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [str(python), *words], cwd=lab, env=variables, capture_output=True, text=True
        )
        printed = done.stdout + done.stderr
        assert done.returncode == status and "Traceback" not in printed, (words, printed)
        return printed

    one = ("--trials-in-parallel", "1", "--precision", "fp32")
    assert "3 trials, 0 failed; 3 finished runs" in run("my_study.py", "--name", "grid", *one)

    search = ("my_study.py", "--kind", "search", "--num-trials", "6", "--name", "search")
    search = (*search, "--resume", "auto", *one)
    client = MlflowClient(f"sqlite:///{tmp_path}/home/mlflow.db")
    driver = subprocess.Popen(
        [str(python), *search], cwd=lab, env=variables, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 180
        while len(finished(client, "search")) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == -9  # it had not ended
    assert " trials, 0 failed; " in run(*search)
    runs = finished(client, "search")
    dims = [json.loads(run.data.tags["cell"])["latent_dim"] for run in runs]
    assert len(dims) == len(set(dims)) >= 2  # a cell that the search suggests again runs once

    genae = ("-m", "genae_core")
    trust = ("--trust", "my_study.py")
    by_part = {
        json.loads(run.data.tags["cell"])["part"]: run.info.run_id
        for run in finished(client, "mine")
    }
    mine = by_part["others"]
    assert f"--trust {lab}/my_parts.py" in run(*genae, "sample", mine, "--out", "no", status=2)
    few = ("--num-samples", "50")
    run(*genae, "sample", mine, *few, "--out", "../samples", "--trust", "my_parts.py")
    measured = run(*genae, "evaluate", mine, "--num-samples", "100", *trust)
    assert "FCD" in measured and "brightness" in measured
    assert "grid.html: 3 finished runs" in run(
        *genae, "explorer", "--sweep", "grid", "--out", "../grid.html"
    )
    assert '"ownMetrics":{"brightness":"higher"}' in (tmp_path / "grid.html").read_text()
    parts = ("--trust", "my_parts.py")
    run(*genae, "export", mine, "--out", "../card", *parts)
    assert "my_parts.py" in (tmp_path / "card" / "README.md").read_text()
    run(*genae, "sample", "../card", *few, "--out", "../again", *parts)
    by_run, by_card = (
        [pq.read_table(part) for part in sorted((tmp_path / name).glob("part-*"))]
        for name in ("samples", "again")
    )
    assert sum(part.num_rows for part in by_run) == 50 and by_run == by_card
    run(*genae, "node", "up")
    try:
        job = run(*genae, "submit", "--", "my_study.py", "--name", "job", *one)
        assert "3 trials, 0 failed; 3 finished runs" in job
    finally:
        run(*genae, "node", "down")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=lab, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert {run.data.tags["study_commit"] for run in finished(client, "mine")} == {commit}


def finished(client: MlflowClient, study: str) -> list[Run]:
    """The finished trainings of a study; none before its first run."""
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return []
    runs = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")
    return [run for run in runs if run.data.tags.get("stage") == "model"]
