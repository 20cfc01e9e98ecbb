"""Every study through its real entry point, tiny: its exit code, its words, and what MLflow
holds afterwards."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from contracts import scripts
from contracts.readers import read_files, read_folder
from running import ONE, ROOT, client_of, environment, run, trials_of

from genae_core import config
from genae_core.recipes.families import families_with_encoder
from genae_core.report.decision import read_decision
from genae_core.training import checkpoint

pytestmark = pytest.mark.slow

QUICK = ("--smoke", "--epochs", "1", "--families", "vae", "daae", "--latent-dims", "2", "4")


# What is secret in the environment of whoever sweeps, by names that stores and clouds use.
SECRETS = {
    name: f"canary-{number}-of-the-environment"
    for number, name in enumerate(
        ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "MY_TOKEN")
    )
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        done = run(home, "latent_dim.py", *QUICK, "--name", "first")
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


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


def test_secrets_of_the_environment_are_in_no_log_param_or_artifact(
    swept: tuple[Path, str],
) -> None:
    home, printed = swept
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {"mlflow.db", "experiment.json", "explorer.html", "sweep.json"} <= {
        path.name for path in files
    }
    for value in SECRETS.values():
        assert value not in printed
        assert not [path for path in files if value.encode() in path.read_bytes()]


def test_every_file_of_a_sweep_is_opened_by_its_own_reader(swept: tuple[Path, str]) -> None:
    home, _ = swept
    folders = [path for path in home.iterdir() if path.is_dir() and path.name != "sweeps"]
    folders += [path for path in (home / "sweeps").glob("*/*") if not path.name.startswith("tune")]
    counts = sum((read_files(folder) for folder in folders), Counter())
    assert {".png", ".avif", ".webp", ".json", ".parquet", ".npy", ".safetensors"} <= {*counts}
    (shards,) = (path for path in (home / "shards").iterdir() if path.name[0] != ".")
    assert len(set(read_folder(shards).values())) == 1


def test_it_says_where_the_time_went(swept: tuple[Path, str]) -> None:
    home, printed = swept
    (said,) = re.findall(
        r"time:   (\d+) x (\d+) s: (\d+)% training, (\d+)% chains and metrics, (\d+)% the rest",
        printed,
    )
    slots, seconds, training, chains, rest = map(int, said)
    assert 99 <= training + chains + rest <= 101
    client = client_of(home)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    metrics = [r.data.metrics for r in trials_of(client, experiment.experiment_id)]
    for name, share in (("training_seconds", training), ("evaluation_seconds", chains)):
        found = sum(each[name] for each in metrics)
        assert found > 0
        low, high = (100 * found / (slots * (seconds + d)) for d in (0.5, -0.5))  # it was rounded
        assert low - 0.5 <= share <= high + 0.5


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
    latest = "dashboards/explorer/latest.py"
    said = scripts.run(latest, "--print", variables=environment(home), cwd=home)
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
    swept: tuple[Path, str], run_here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    home, _ = swept
    again = run_here(home, "latent_dim.py", *QUICK, "--name", "first")
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
        *ONE,
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


def test_one_line_begins_and_continues_a_sweep_and_seeds_are_added(
    tmp_path: Path, run_here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The runs of before stay as they are, and the table, the page and the Optuna study have both
    seeds."""
    flags = ("--smoke", "--epochs", "1", "--families", "vae", "--latent-dims", "2", "3", *ONE)
    flags += ("--name", "grow", "--optuna-storage", f"sqlite:///{tmp_path}/optuna.db")
    auto = (*flags, "--resume", "auto")
    first = run(tmp_path, "latent_dim.py", *auto)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "--resume auto: the sweep grow is new" in first.stdout
    client = client_of(tmp_path)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    before = {r.info.run_id: r.info.end_time for r in trials_of(client, experiment.experiment_id)}
    assert len(before) == 2
    second = run(tmp_path, "latent_dim.py", *auto, "--seeds", "0", "1")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "--resume auto: the sweep grow is continued" in second.stdout
    after = {r.info.run_id: r for r in trials_of(client, experiment.experiment_id)}
    assert len(after) == 4 and {r.info.status for r in after.values()} == {"FINISHED"}
    assert {run_id: after[run_id].info.end_time for run_id in before} == before
    cells = Counter((r.data.tags["cell"], r.data.tags["seed"]) for r in after.values())
    assert len(cells) == 4
    rows = [line.split()[:3] for line in second.stdout.splitlines() if line.split()[:1] == ["VAE"]]
    assert rows == [["VAE", "2", "2"], ["VAE", "3", "2"]]
    assert "explorer.html: 4 finished runs, 0 without a result" in second.stdout
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    trials = optuna.load_study(study_name="grow", storage=storage).trials
    storage.engine.dispose()
    assert Counter(trial.params["latent_dim"] for trial in trials) == {2: 2, 3: 2}
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    refused = run_here(tmp_path, "latent_dim.py", *flags, "--resume", "--seeds", "0")
    assert refused.returncode == 2
    assert "was started with --seeds 0 1, got 0: name all of these seeds" in refused.stderr


def test_a_sweep_runs_until_its_best_cell_is_settled(tmp_path: Path) -> None:
    """Two latent dimensions are worse than eight by more than twenty times the seeds' noise."""
    flags = ("--smoke", "--families", "vae", "--latent-dims", "2", "8", "--precision", "fp32")
    done = run(tmp_path, "latent_dim.py", *flags, "--until-settled", "--name", "settle", *ONE)
    assert done.returncode == 0, done.stdout + done.stderr
    decided = (
        "settled with 95 % confidence: vae latent_dim=8 has the lowest FCD on validation of "
        "2 cells (6 trials, 3 seeds of the cells that were left)"
    )
    assert decided in done.stdout.splitlines()
    folder = tmp_path / "sweeps" / "settle"
    assert decided in (folder / "table.txt").read_text().splitlines()
    decision = read_decision(folder)
    assert decision is not None and decision.settled and decision.trials == 6
    worse = decision.eliminated['{"family": "vae", "latent_dim": 2}']
    client = client_of(tmp_path)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    best = {
        (r.data.params["model.latent_dim"], r.data.tags["seed"]): r.data.metrics["fcd_val_best"]
        for r in runs
    }
    assert sorted(best) == [(dim, seed) for dim in ("2", "8") for seed in ("0", "1", "2")]
    differences = [best["2", seed] - best["8", seed] for seed in ("0", "1", "2")]
    assert worse["difference"] == pytest.approx(sum(differences) / 3)


def test_trials_that_all_fail_with_one_error_stop_the_sweep(swept: tuple[Path, str]) -> None:
    home, _ = swept
    flags = ("--smoke", "--epochs", "1", "--families", "vae", "--latent-dims", "2", "3", "4", "5")
    flags += ("--learning-rate", "1e30", "--name", "broken", "--fail-fast", "2", *ONE)
    done = run(home, "latent_dim.py", *flags)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("NonFiniteLossError") == 1
    last = done.stdout.strip().splitlines()[-2:]
    assert "the sweep ended early: the first 2 trials have failed with the same error" in last[0]
    assert last[1] == "to continue: the same command with --name broken --resume"
    client = client_of(home)
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.sweep = 'broken'")
    assert sum(r.info.status == "FAILED" for r in runs) == 2 and len(runs) <= 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--dataset", "cifar"), "cifar"),
        (("--families", "pixelcnn"), "pixelcnn"),
        (("--dataset", "mnist"), "--data-root"),
        (("--dataset", "mnist", "--data-root", "nowhere"), "nowhere"),
        (("--latent-dims", "0"), "latent_dim must be a whole number >= 1, got latent_dim=0"),
        (("--noise", "-0.1"), "noise"),
        (("--learning-rate", "nan"), "learning_rate must be a finite number"),
        (("--epochs", "0"), "epochs must be a whole number >= 1"),
        (
            ("--net-width", "32"),
            "--net-width is only for DCGANs, and digits is trained with an MLP",
        ),
        (("--latent-dims", "2", "2"), "must name a value only once"),
        (("--seeds", "1", "1"), "--seeds must differ"),
        (("--cpus-per-trial", "0"), "cpus_per_trial"),
        (("--fail-fast", "0"), "fail_fast must be a whole number >= 1"),
        (("--accelerator-type", "A100"), "only for trials with a GPU"),
        (("--optuna-storage", "optuna.db"), "--optuna-storage must be sqlite:///PATH"),
        (("--resume", "auto"), "--resume needs the --name"),
        (("--resume",), "--resume"),
        (("--name", "a/b"), "--name"),
        (("--until-settled", "--seeds", "0"), "name two --seeds or more to begin with"),
        (("--until-settled", "--asha"), "leave out --asha"),
        (("--until-settled", "--confidence", "0.5"), "--confidence must be in (0.5, 1)"),
        (("--until-settled", "--indifference", "-1"), "indifference"),
        (("--until-settled", "--families", "vae", "--latent-dims", "2"), "name several values"),
        (("--until-settled", "--max-trials", "5"), "cannot hold the first round, of 3 seeds for"),
        (
            ("--until-settled", "--seeds", "0", "1", "--max-trials", "3"),
            "cannot hold the first round, of 2 seeds for",
        ),
        (("--question", "best-step"), "--question says what --until-settled decides: give both"),
        (("--until-settled", "--question", "best"), "invalid choice"),
        (
            ("--until-settled", "--question", "family-order", "--families", "vae"),
            "--question family-order compares families: name several, got families=['vae']",
        ),
        (("--tracking-uri", "http://127.0.0.1:9"), "does not answer"),
        (("--tracking-uri", "./mlruns"), "sqlite:///"),
        (("--tracking-uri", "sqlite:///nowhere/x.db"), "does not exist"),
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


@pytest.mark.parametrize(
    ("script", "trials", "cell"),
    [
        ("latent_dim.py", 12, "daae latent_dim=32"),
        ("model_family.py", len(families_with_encoder()), "flow_ae_spline latent_dim=10"),
        ("prior_type.py", 12, "aae prior=swiss_roll"),
        ("noise_level.py", 12, "vae noise=0.25"),
    ],
)
def test_print_shows_the_trials_and_starts_none(
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


def test_ctrl_c_keeps_what_has_finished_and_says_how_to_go_on(swept: tuple[Path, str]) -> None:
    home, _ = swept
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "sweeps" / "latent_dim.py"), "--epochs", "400", "--families",
         "vae", "--latent-dims", "2", "4", *ONE, "--name", "cut"],
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
