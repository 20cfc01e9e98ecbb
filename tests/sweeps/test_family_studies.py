"""Studies of families and priors, the search that is compared with them, and their bad input."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from running import ONE, client_of, run, trials_of

from genae_core import config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_a_study_of_families_with_one_stage_and_two(home: Path) -> None:
    """What is fitted to codes is trained, sampled, stored and read back like the others."""
    families = ("vae", "wae_gan", "flow_ae", "adv_ae", "gmmn_ae", "ex_post_ae")
    flags = ("--smoke", "--epochs", "1", "--latent-dims", "3", "--families", *families, *ONE)
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
        assert r.data.tags["features_precision"] == "fp32"  # the digits are grey
        start = f"{r.data.tags['family']}  "
        (row,) = [x for x in done.stdout.splitlines() if x.strip().startswith(start)]
        assert row.split(start)[1].split()[0] == "3"


def test_a_search_stops_trials_and_compares_what_it_found(home: Path) -> None:
    """Against the study of the test before, on fresh seeds."""
    flags = ("--smoke", "--epochs", "9", "--minutes", "5", "--trials", "7", "--against", "rivals")
    cells = ("--families", "vae", "wae_mmd", "ex_post_ae", "--fresh-seeds", "100")
    cells += ("--precision", "fp32")
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


def test_a_study_of_priors_leaves_out_pairs_without_a_meaning(home: Path) -> None:
    flags = ("--smoke", "--epochs", "1", "--families", "vae", "aae", "--priors", "ring", "uniform")
    done = run(home, "prior_type.py", *flags, *ONE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 trials, 0 failed; 3 finished runs" in done.stdout
    rows = [line.split()[:2] for line in done.stdout.splitlines() if "ring" in line.split()[:2]]
    assert sorted(rows) == [["AAE", "ring"], ["VAE", "ring"]]


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("paper_figures.py", ("--dataset", "celeba", "--raw", "x"), "these figures need ten"),
        ("prior_type.py", ("--families", "flow_ae"), "these families have no prior to choose"),
        ("prior_type.py", ("--latent-dim", "3"), "a swiss roll needs latent_dim 2"),
        (
            "prior_type.py",
            ("--families", "vae", "--priors", "uniform"),
            "no values of these axes fit together",
        ),
        ("noise_level.py", ("--families", "gmmn_ae"), "take no corruption"),
        ("noise_level.py", ("--families", "dvae", "--noise", "0.3"), "give --noises instead of"),
        ("latent_dim.py", ("--families", "vae", "flow_ae", "--noise", "0.3"), "for dvae, daae"),
        ("noise_level.py", ("--noises", "-1"), "noise must be a finite number >= 0, got noise=-1"),
        ("search.py", ("--minutes", "0"), "minutes must be > 0"),
        ("search.py", ("--against", "nothing"), "no finished run in the sweep"),
        ("paper_tables.py", ("--data-root", "nowhere", "--seeds", "0"), "seeds must be a whole"),
        (
            "paper_tables.py",
            ("--data-root", "nowhere", "--json", "no/x.json"),
            "there is no folder",
        ),
        ("paper_tables.py", ("--data-root", "nowhere"), "/nowhere' is no folder"),
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
