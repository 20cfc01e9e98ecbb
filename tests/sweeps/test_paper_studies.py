"""The studies that follow papers: every sampler from one training, and the figures."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import ONE, client_of, run, trials_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_mcmc_steps_runs_every_sampler_from_one_training(home: Path) -> None:
    done = run(
        home,
        "mcmc_steps.py",
        *("--smoke", "--epochs", "1", "--families", "vae", "daae", "--latent-dims", "3", "4"),
        *("--models", "vae-4", "daae-4"),
        *("--seeds", "0", "1", "--record", "0", "1", "4", "--name", "steps"),
        *ONE,
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


def test_the_papers_figures_are_files_and_artifacts(home: Path) -> None:
    wanted = {
        "gaussian_aae": {"codes", "manifold", "neighbours"},
        "gaussian_vae": {"codes", "neighbours"},
        "semi_supervised": {"codes", "manifold0", "manifold1", "manifold2", "neighbours"},
        "swiss_roll": {"codes", "walk", "neighbours"},
        "style": {"styles", "neighbours"},
    }
    flags = ("--figures", *wanted, "--smoke", "--epochs", "1", "--name", "drawn", *ONE)
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


def test_the_ledger_of_what_a_claim_needs_and_the_same_ledger_later(home: Path) -> None:
    claims = ("--claims", "narrow-codes", "denoises", "--out", str(home / "ledger"))
    families = ("--families", "vae", "daae")  # no claim that is asked about names the VAE
    done = run(
        home,
        "claims.py",
        *("--smoke", "--epochs", "1", "--latent-dims", "3", "--seeds", "0", "1"),
        *("--name", "needed", *claims, *families, *ONE),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    stored = json.loads((home / "ledger" / "claims.json").read_text())
    for claim in stored["claims"]:  # the second one is measured on the models
        assert [(one["setting"], one["seeds"]) for one in claim["settings"]] == [("DAAE-3", 2)]
    runs = trials_of(client_of(home), _experiment_id(home, "claims"))
    assert {r.data.tags["family"] for r in runs} == {"DAAE"}
    mean = sum(r.data.metrics["codes_sd"] for r in runs) / 2
    assert stored["claims"][0]["settings"][0]["estimate"] == pytest.approx(mean)
    (home / "ledger" / "claims.json").unlink()
    done = run(home, "claims.py", "--from-sweep", "needed", *claims)
    assert done.returncode == 0, done.stdout + done.stderr
    again = json.loads((home / "ledger" / "claims.json").read_text())
    assert again == stored


def _experiment_id(home: Path, name: str) -> str:
    experiment = client_of(home).get_experiment_by_name(name)
    assert experiment is not None
    return str(experiment.experiment_id)


def test_the_table_of_samplers_has_a_row_for_each_sampler_and_step(home: Path) -> None:
    flags = ("--table", "samplers", "--dataset", "digits", "--smoke", "--seeds", "1")
    rows_file = home / "samplers.json"
    done = run(
        home, "paper_tables.py", *flags, "--name", "pareto", "--json", str(rows_file), *ONE[:2]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(rows_file.read_text())
    # From the prior 9 steps, from the codes 4: 1 and 4 samplers of the VAE, 3 and 5 of the DVAE.
    assert len(rows) == (9 + 4 * 4) + (3 * 9 + 5 * 4)
    starts = [row for row in rows if row["step"] == 0]
    assert all(row["calls"] == 1 for row in starts)
    assert all(row["calls"] == 1 + 2 * row["step"] for row in rows)
    assert all(0 < row["nearest"] < 3 for row in rows)
    for model in ("VAE-10", "DVAE-10"):
        assert f"{model}: the published chain has" in done.stdout
        assert any(row["front"] for row in rows if row["model"] == model)
