"""Every study through its real entry point, tiny: its exit code, its words, and what MLflow
holds afterwards."""

import csv
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

from genae_core import checkpoint, config

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--smoke", "--epochs", "1", "--families", "vae", "daae", "--latent-dims", "2", "4")


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "GENAE_HOME": str(home), "OMP_NUM_THREADS": "1"}


def run(home: Path, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "sweeps" / script), *flags],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture
def run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run`, in this process: for what ends before any trial, where imports would take longest."""

    def run(home: Path, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
        path = ROOT / "sweeps" / script
        monkeypatch.setenv("GENAE_HOME", str(home))
        monkeypatch.chdir(home)
        monkeypatch.setattr(sys, "argv", [str(path), *flags])
        monkeypatch.syspath_prepend(path.parent)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(sys.argv, ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    home = tmp_path_factory.mktemp("home")
    done = run(home, "latent_dim.py", *QUICK, "--name", "first")
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


def client_of(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home}/mlflow.db")


def trials_of(client: MlflowClient, experiment_id: str) -> list[Run]:
    """All runs but the summaries of sweeps."""
    return [r for r in client.search_runs([experiment_id]) if "sweep" in r.data.tags]


def test_the_table_agrees_with_the_curves_in_mlflow(swept: tuple[Path, str]) -> None:
    home, printed = swept
    client = client_of(home)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    assert len(runs) == 4
    assert {r.info.status for r in runs} == {"FINISHED"}
    rows = [
        line.split() for line in printed.splitlines() if line.split()[:1] in (["VAE"], ["DAAE"])
    ]
    assert len(rows) == 4
    for r in runs:
        curve = {m.step: m.value for m in client.get_metric_history(r.info.run_id, "chain/fcd")}
        assert sorted(curve) == [0, 1, 2, 5, 10]
        val = {m.step: m.value for m in client.get_metric_history(r.info.run_id, "chain/fcd_val")}
        best = min(val, key=lambda step: val[step])
        assert r.data.metrics["fcd_best_step"] == best
        assert r.data.metrics["fcd_best"] == curve[best]
        assert r.data.metrics["fcd_step0"] == curve[0]
        row = next(
            x for x in rows if x[:2] == [r.data.tags["family"], r.data.params["model.latent_dim"]]
        )
        shown = [float(value) for value in row[3:7]]
        assert shown == pytest.approx([curve[s] for s in (0, 1, 5, 10)], abs=0.051)


def test_a_sweep_leaves_a_page_a_summary_and_a_view(
    swept: tuple[Path, str], tmp_path: Path
) -> None:
    home, printed = swept
    client = client_of(home)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    page = home / "sweeps" / "first" / "explorer.html"
    assert f"page:   {page}: 4 finished runs, 0 without a result, 12 of 12 pictures" in printed
    (summary,) = client.search_runs([experiment.experiment_id], "tags.summary = 'first'")
    assert summary.info.status == "FINISHED"
    folder = Path(client.download_artifacts(summary.info.run_id, "", str(tmp_path)))
    assert {path.name for path in folder.iterdir()} == {"explorer.html", "table.txt", "curves.png"}
    assert (folder / "explorer.html").read_bytes() == page.read_bytes()
    (link,) = re.findall(r"charts: .*viewStateShareKey=(\S+)&", printed)
    assert f"mlflow.sharedViewState.{link}" in experiment.tags
    latest = [sys.executable, str(ROOT / "dashboards" / "explorer" / "latest.py"), "--print"]
    said = subprocess.run(latest, env=environment(home), capture_output=True, text=True)
    assert said.stdout == f"{page}\n"


def test_a_run_holds_what_reproduces_it(swept: tuple[Path, str], tmp_path: Path) -> None:
    home, _ = swept
    client = client_of(home)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    for r in trials_of(client, experiment.experiment_id):
        tags = r.data.tags
        for name in ("sweep", "family", "dataset", "stage", "git_commit", "git_dirty", "command"):
            assert tags[name]
        assert tags["dataset"] == "digits"
        assert "latent_dim.py" in tags["command"]
        assert tags["model_run"] == tags["key"]  # one chain setting: the run is its own model's
        (tmp_path / r.info.run_id).mkdir()
        place = str(tmp_path / r.info.run_id)
        folder = Path(client.download_artifacts(r.info.run_id, "", place))
        stored = config.from_json((folder / "experiment.json").read_text())
        assert stored.model.latent_dim == int(r.data.params["model.latent_dim"])
        model = checkpoint.load_model(folder / "checkpoint")
        assert model.latent_dim == stored.model.latent_dim
        assert len(list((folder / "images").glob("samples*step*png"))) == 5
        assert (folder / "strip.png").read_bytes().startswith(b"\x89PNG")
        curve = json.loads((folder / "curve.json").read_text())
        assert curve["step"] == [0, 1, 2, 5, 10]
        terms = {name for name in r.data.metrics if name.startswith("train/")}
        expected = {
            "VAE": {"reconstruction", "kl"},
            "DAAE": {"reconstruction", "critic", "encoder"},
        }[tags["family"]]
        assert terms == {f"train/{name}" for name in expected}


def test_a_name_that_exists_is_refused_and_resume_runs_nothing_twice(
    swept: tuple[Path, str],
) -> None:
    home, _ = swept
    again = run(home, "latent_dim.py", *QUICK, "--name", "first")
    assert again.returncode == 2
    assert "'first' exists" in again.stderr
    assert "--resume" in again.stderr
    other = run(home, "latent_dim.py", *QUICK, "--noise", "0.3", "--name", "first", "--resume")
    assert other.returncode == 2
    assert "is not what the sweep" in other.stderr
    client = client_of(home)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    before = {r.info.run_id for r in trials_of(client, experiment.experiment_id)}
    resumed = run(home, "latent_dim.py", *QUICK, "--name", "first", "--resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    after = {r.info.run_id for r in trials_of(client, experiment.experiment_id)}
    assert after == before


def test_a_diverging_cell_fails_alone_with_its_terms(swept: tuple[Path, str]) -> None:
    home, _ = swept
    done = run(
        home,
        "latent_dim.py",
        "--smoke",
        "--epochs",
        "1",
        "--families",
        "vae",
        "aae",
        "--latent-dims",
        "2",
        "--learning-rate",
        "1e30",
        "--name",
        "diverges",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NonFiniteLossError" in done.stdout
    assert "reconstruction=" in done.stdout
    client = client_of(home)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.sweep = 'diverges'")
    failed = [r for r in runs if r.info.status == "FAILED"]
    assert failed
    assert all("NonFiniteLossError" in r.data.tags["error"] for r in failed)


def test_mcmc_steps_runs_every_sampler_from_one_training(swept: tuple[Path, str]) -> None:
    home, _ = swept
    done = run(
        home,
        "mcmc_steps.py",
        *("--smoke", "--epochs", "1", "--families", "vae", "daae", "--latent-dims", "3", "4"),
        *("--models", "vae-4", "daae-4"),
        *("--seeds", "0", "1", "--record", "0", "1", "4", "--name", "steps"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    client = client_of(home)
    experiment = client.get_experiment_by_name("mcmc_steps")
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    # Of 8 settings the VAE has no corruption to leave out, the DAAE's encoder no density.
    assert len(runs) == 2 * 2 * 7
    models = [r for r in runs if r.data.tags["stage"] == "model"]
    assert len(models) == 4
    for r in runs:
        names = {a.path for a in client.list_artifacts(r.info.run_id)}
        holds = r in models
        assert ("checkpoint" in names) == holds == ("study" in names)
        assert any(name.startswith("train/") for name in r.data.metrics) == holds
        assert r.data.tags["model_run"] in {m.data.tags["key"] for m in models}
        drawn = holds and r.data.tags["seed"] == "0"
        assert ("figures" in names) == drawn
        assert "chain/rhat" in r.data.metrics
        assert ("chain/accepted" in r.data.metrics) == r.data.tags["chain"].startswith(
            ("metropolis", "langevin")
        )
    assert "n/a: metropolis, running BN: Metropolis needs a density of the encoder" in done.stdout
    assert "n/a: encode decode (corrupt=False), batch BN: the model corrupts" in done.stdout
    with (home / "sweeps" / "steps" / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 28 * 3
    of = {(r.data.tags["family"], r.data.tags["chain"], r.data.tags["seed"]): r for r in runs}
    for row in rows:
        r = of[(row["family"], row["chain"], row["seed"])]
        history = client.get_metric_history(r.info.run_id, "chain/fcd")
        assert float(row["fcd"]) == {m.step: m.value for m in history}[int(row["step"])]
        assert (row["rhat"] == "") == (int(row["step"]) < 3)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--dataset", "cifar"), "cifar"),
        (("--families", "gan"), "gan"),
        (("--dataset", "mnist"), "--data-root"),
        (("--dataset", "mnist", "--data-root", "nowhere"), "nowhere"),
        (("--latent-dims", "0"), "latent_dim must be a whole number >= 1, got latent_dim=0"),
        (("--noise", "-0.1"), "noise"),
        (("--learning-rate", "nan"), "learning_rate must be a finite number"),
        (("--epochs", "0"), "epochs must be a whole number >= 1"),
        (("--net-width", "32"), "--net-width is the DCGAN's, and digits takes an MLP"),
        (("--latent-dims", "2", "2"), "twice"),
        (("--seeds", "1", "1"), "--seeds must differ"),
        (("--cpus-per-trial", "0"), "cpus_per_trial"),
        (("--resume",), "--resume"),
        (("--name", "a/b"), "--name"),
        (("--tracking-uri", "http://127.0.0.1:9"), "does not answer"),
        (("--tracking-uri", "./mlruns"), "sqlite:///"),
        (("--tracking-uri", "sqlite:///nowhere/x.db"), "is not there"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(
    flags: tuple[str, ...],
    words: str,
    swept: tuple[Path, str],
    run_here: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    home, _ = swept
    before = sorted(path.name for path in (home / "sweeps").iterdir())
    done = run_here(home, "latent_dim.py", "--smoke", *flags)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (home / "sweeps").iterdir()) == before


def test_a_trial_that_fits_nowhere_is_refused(swept: tuple[Path, str]) -> None:
    home, _ = swept
    before = sorted(path.name for path in (home / "sweeps").iterdir())
    done = run(home, "latent_dim.py", "--smoke", "--gpus-per-trial", "1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "nothing here holds a trial" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in (home / "sweeps").iterdir()) == before


def test_a_folder_of_mixed_images_is_swept_and_prepared_once(tmp_path: Path) -> None:
    """Without classes: the classifier then learns which way up an image is."""
    photos = tmp_path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0)
    for number in range(48):
        tint = noise.integers(0, 256, (6, 8, 3), np.uint8)
        tint[:3] //= 4  # dark above
        image = Image.fromarray(tint).resize((80 + number, 60 + number))
        image.save(photos / f"{number}.{'png' if number % 2 else 'jpg'}")
    flags = ("--dataset", "image_folder", "--raw", str(photos), "--smoke", "--epochs", "1")
    cells = ("--families", "vae", "--latent-dims", "4", "--net-width", "4")
    first = run(tmp_path, "latent_dim.py", *flags, *cells)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "preparing image_folder, once: 48 images in 3 shards" in first.stdout
    assert "accurate on held-out images (quarter turns)" in first.stdout
    assert "1 trials, 0 failed; 1 finished runs" in first.stdout
    for precision in ("fp32", "fp32-channels-last"):  # and bf16, where the hardware has it
        assert f"  --precision {precision}: " in first.stdout
    (shards,) = (tmp_path / "shards").glob("image_folder-*[0-9a-f]")
    shutil.rmtree(photos)
    gone = run(tmp_path, "latent_dim.py", *flags, *cells)
    assert gone.returncode == 2 and f"there is no folder {photos}" in gone.stderr
    again = run(
        tmp_path, "latent_dim.py", *flags, *cells, "--shards", str(shards), "--precision", "fp32"
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "preparing" not in again.stdout and "training the FCD's" not in again.stdout


@pytest.mark.parametrize(
    ("script", "trials", "cell"),
    [
        ("latent_dim.py", 12, "daae latent_dim=32"),
        ("model_family.py", 11, "flow_ae_spline latent_dim=10"),
        ("prior_type.py", 12, "aae prior=swiss_roll"),
        ("noise_level.py", 12, "vae noise=0.25"),
    ],
)
def test_print_shows_the_trials_and_runs_none(
    script: str,
    trials: int,
    cell: str,
    tmp_path: Path,
    run_here: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_here(tmp_path, script, "--print")
    assert done.returncode == 0, done.stderr
    assert f"{trials} trials" in done.stdout
    assert cell in done.stdout
    assert not (tmp_path / "mlflow.db").exists()


def test_a_study_of_families_with_one_stage_and_two(swept: tuple[Path, str]) -> None:
    """What is fitted to codes is trained, sampled, stored and read back like the others."""
    home, _ = swept
    families = ("vae", "wae_gan", "flow_ae", "adv_ae", "gmmn_ae", "ex_post_ae")
    flags = ("--smoke", "--epochs", "1", "--latent-dims", "3", "--families", *families)
    done = run(home, "model_family.py", *flags, "--name", "rivals")
    assert done.returncode == 0, done.stdout + done.stderr
    client = client_of(home)
    experiment = client.get_experiment_by_name("model_family")
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    names = {"VAE", "WAE-GAN", "FlowAE", "AdvAE", "GMMN+AE", "AE + GMM"}
    assert {r.data.tags["family"] for r in runs} == names and len(runs) == 6
    for r in runs:
        assert r.info.status == "FINISHED" and r.data.tags["latent_dim"] == "3"
        start = f"{r.data.tags['family']}  "
        (row,) = [x for x in done.stdout.splitlines() if x.strip().startswith(start)]
        assert row.split(start)[1].split()[0] == "3"


def test_a_search_stops_trials_and_compares_what_it_found(swept: tuple[Path, str]) -> None:
    """Against the study of the test before, on fresh seeds."""
    home, _ = swept
    flags = ("--smoke", "--epochs", "9", "--minutes", "5", "--trials", "7", "--against", "rivals")
    cells = ("--families", "vae", "wae_mmd", "ex_post_ae", "--fresh-seeds", "100")
    # The study's cells are of dimension 3, which is not searched.
    done = run(home, "search.py", *flags, *cells)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 trials or 5 minutes" in done.stdout
    assert re.search(r"(vae|wae_mmd).*: stopped at (11|33|44) % of its steps", done.stdout)
    assert "7 trials, 0 failed" in done.stdout
    client = client_of(home)
    experiment = client.get_experiment_by_name("search")
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    ended = [r for r in runs if r.info.status == "FINISHED"]
    assert 0 < len(ended) < len(runs) == 7
    assert {r.info.status for r in runs} == {"FINISHED", "KILLED"}
    best = min(ended, key=lambda r: r.data.metrics["fcd_val_best"])
    (text,) = (home / "sweeps").glob("search-*/best.json")
    stored = config.from_json(text.read_text())
    assert stored.model.family == best.data.tags["family"]
    compared = client.get_experiment_by_name("confirm")
    assert compared is not None
    both = trials_of(client, compared.experiment_id)
    assert {json.loads(r.data.tags["cell"])["cell"] for r in both} == {"search", "against"}
    assert {r.data.tags["seed"] for r in both} == {"100"}


def test_a_study_of_priors_leaves_out_what_means_nothing(swept: tuple[Path, str]) -> None:
    home, _ = swept
    flags = ("--smoke", "--epochs", "1", "--families", "vae", "aae", "--priors", "ring", "uniform")
    done = run(home, "prior_type.py", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 trials, 0 failed; 3 finished runs" in done.stdout
    rows = [line.split()[:2] for line in done.stdout.splitlines() if "ring" in line.split()[:2]]
    assert sorted(rows) == [["AAE", "ring"], ["VAE", "ring"]]


def test_the_papers_figures_are_files_and_artifacts(swept: tuple[Path, str]) -> None:
    home, _ = swept
    wanted = {
        "gaussian_aae": {"codes", "manifold", "neighbours"},
        "gaussian_vae": {"codes", "neighbours"},
        "semi_supervised": {"codes", "manifold0", "manifold1", "manifold2", "neighbours"},
        "swiss_roll": {"codes", "walk", "neighbours"},
        "style": {"styles", "neighbours"},
    }
    flags = ("--figures", *wanted, "--smoke", "--epochs", "1", "--name", "drawn")
    done = run(home, "paper_figures.py", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    client = client_of(home)
    experiment = client.get_experiment_by_name("paper_figures")
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    assert len(runs) == len(wanted)
    for r in runs:
        figure = json.loads(r.data.tags["cell"])["figure"]
        files = {f"{what}_{figure}_seed0.png" for what in wanted[figure]}
        logged = {Path(a.path).name for a in client.list_artifacts(r.info.run_id, "figures")}
        assert logged == files | ({"code_spaces.png"} if "gaussian" in figure else set())
        for name in files:
            drawn = home / "sweeps" / "drawn" / "figures" / name
            assert np.asarray(Image.open(drawn).convert("L")).std() > 0
        assert ("code_agreement" in r.data.metrics) == (figure == "semi_supervised")
    labelled = next(r for r in runs if "semi_supervised" in r.data.tags["cell"])
    assert labelled.data.params["training.num_labelled"] == "200"
    share = 100 * labelled.data.metrics["code_agreement"]
    assert f"the most responsible one: {share:.1f} % (seeds: {share:.1f})" in done.stdout


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("paper_figures.py", ("--dataset", "celeba", "--raw", "x"), "these figures need ten"),
        ("prior_type.py", ("--families", "flow_ae"), "families with a fitted law have no prior"),
        ("prior_type.py", ("--latent-dim", "3"), "a swiss roll needs latent_dim 2"),
        ("prior_type.py", ("--families", "vae", "--priors", "uniform"), "no cell of these axes"),
        ("noise_level.py", ("--families", "gmmn_ae"), "no corruption of their own"),
        ("noise_level.py", ("--noises", "-1"), "noise must be a finite number >= 0, got noise=-1"),
        ("search.py", ("--minutes", "0"), "minutes must be > 0"),
        ("search.py", ("--against", "nothing"), "no finished run in the sweep"),
        ("paper_tables.py", ("--data-root", "nowhere", "--seeds", "0"), "seeds must be a whole"),
        ("paper_tables.py", ("--data-root", "nowhere", "--json", "no/x.json"), "no such folder"),
        ("paper_tables.py", ("--data-root", "nowhere"), "the data root 'nowhere' is no folder"),
    ],
)
def test_bad_input_of_the_other_studies(
    script: str,
    flags: tuple[str, ...],
    words: str,
    tmp_path: Path,
    run_here: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_here(tmp_path, script, *flags)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_keeps_what_has_finished_and_says_how_to_go_on(swept: tuple[Path, str]) -> None:
    home, _ = swept
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "sweeps" / "latent_dim.py"), "--epochs", "400", "--families",
         "vae", "--latent-dims", "2", "4", "--trials-in-parallel", "1", "--name", "cut"],
        env=environment(home), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "running vae" in line:
                break
        deadline = time.monotonic() + 120
        while not any((home / "sweeps" / "cut" / "states").glob("*/lives")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(2)  # its start is delivered
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, rest
    assert "--resume" in rest
    client = client_of(home)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.sweep = 'cut'")
    assert runs and all(r.info.status == "KILLED" for r in runs)
