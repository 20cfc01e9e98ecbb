"""The wheel, installed where there is no repository: its commands work, and name commands."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from contracts import scripts
from contracts.scripts import ROOT, environment

pytestmark = pytest.mark.slow


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


def test_an_installed_genae_trains_samples_and_shows(program: Path, tmp_path: Path) -> None:
    """Everything that a new user does, in an empty folder."""
    where = genae(program, tmp_path, "doctor")
    assert where.returncode == 0, where.stdout + where.stderr
    flags = ("--trials-in-parallel", "1", "--precision", "fp32", "--epochs", "1", "--smoke")
    grid = ("--axis", "model.latent_dim", "2", "--name", "first", *flags)
    trained = genae(program, tmp_path, "sweep", *grid)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "see it: genae ui" in trained.stdout
    runs = (
        "import sys; from mlflow.tracking import MlflowClient as C; c = C(sys.argv[1]);"
        "e = c.get_experiment_by_name('sweep').experiment_id;"
        "print(next(r.info.run_id for r in c.search_runs([e]) if 'sweep' in r.data.tags))"
    )
    uri = f"sqlite:///{tmp_path}/home/mlflow.db"
    run_id = subprocess.run(
        [str(program.with_name("python")), "-c", runs, uri],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[-1]
    for words, told in (
        (("sample", run_id, "--num-samples", "20", "--steps", "1", "--out", "samples"), "samples"),
        (("evaluate", run_id, "--num-samples", "200", "--steps", "0", "1"), "FCD"),
        (("explorer", "--print"), "explorer.html"),
        (("explorer", "--sweep", "first", "--out", "page.html"), "page.html: 1 finished runs"),
        (("replay", "home/sweeps/first"), "0 runs have something to deliver"),
        (("train-classifier", "--smoke"), "accurate on"),
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


def test_it_is_the_wheel_that_runs(program: Path, tmp_path: Path) -> None:
    script = tmp_path / "where.py"
    script.write_text(
        "import genae_core, genae_core.report as r; print(genae_core.__file__, r.__path__[0])"
    )
    python = str(program.with_name("python"))
    variables = environment(tmp_path, python)
    done = scripts.run(str(script), variables=variables, cwd=tmp_path, python=python)
    module, report = done.stdout.split()
    assert Path(module).is_relative_to(program.parents[1])
    for name in ("grafana/sweep.json", "grafana/provisioning", "explorer/page.html"):
        assert (Path(report) / name).exists(), name
