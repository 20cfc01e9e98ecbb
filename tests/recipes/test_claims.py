"""The statistics of claims and the ledger's files, on runs whose values are known."""

import dataclasses
import html.parser
import json
import math
import re
from pathlib import Path
from typing import get_args

import pytest
from contracts.databases import new_store

from genae_core.data import sealed
from genae_core.nets.base import ComputeConfig
from genae_core.recipes.claim_models import compute_of, read_measures, with_measures
from genae_core.recipes.claim_runs import CHAINS, group_runs, measure
from genae_core.recipes.creswell_claims import CRESWELL
from genae_core.recipes.ledger_files import LedgerSource, decide_claims, write_ledger
from genae_core.recipes.missing_runs import more_seeds
from genae_core.recipes.options import ClaimName, Paper
from genae_core.recipes.paper_claims import PAPERS, claims_of
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import StoredRun, Tracker
from genae_core.tracking.store_errors import StoreError

BATCH, RUNNING = CHAINS
CURVES = {
    "fcd": {0: 100.0, 5: 50.0, 10: 80.0},
    "fcd_val": {0: 40.0, 5: 45.0, 10: 90.0},  # the best is step 0, and of the others step 5
    "z_posterior_w2": {0: 0.2, 5: 0.1, 10: 0.05},
    "rhat": {5: 3.0, 10: 1.5},
}


def stored(
    family: str, seed: int = 0, dim: int = 10, chain: str = BATCH, factor: float = 1.0
) -> StoredRun:
    """A run whose FCDs are `factor` times those of CURVES."""
    tags = {
        "sweep": "s",
        "dataset": "mnist",
        "seed": str(seed),
        "family": family.upper(),
        "cell": json.dumps({"family": family, "latent_dim": dim}),
        "chain": chain,
    }
    chain_metrics = {
        name: {step: factor * value if "fcd" in name else value for step, value in curve.items()}
        for name, curve in CURVES.items()
    }
    scalars = {"codes_sd": 0.8 if family == "aae" else 0.9, "fcd_floor": 8.0}
    run_id = f"{family}-{dim}-{seed}-{CHAINS.get(chain, 'other')}"
    return StoredRun(run_id, "FINISHED", tags, {}, scalars, chain_metrics)


def values(name: str, runs: list[StoredRun]) -> dict[str, dict[int, float]]:
    """The values of a claim by setting."""
    (paper,) = (name_of for name_of in PAPERS if name in names_of(name_of))
    (claim,) = claims_of(paper, [name])
    return {one.setting: one.values for one in measure(claim, group_runs(runs))}


def names_of(paper: Paper) -> list[str]:
    """The names of a paper's claims."""
    return [one.claim.name for one in PAPERS[paper].claims]


def test_the_names_of_the_flag_are_those_of_the_claims() -> None:
    every = tuple(one.claim.name for paper in PAPERS.values() for one in paper.claims)
    assert get_args(ClaimName) == every
    assert get_args(Paper) == tuple(PAPERS)


@pytest.mark.parametrize(
    "name, value",
    [
        ("improves", 0.5),  # 50 / 100: step 0 is not a step of the chain
        ("lasts", 1.6),  # 80 / 50
        ("approaches", 0.25),
        ("mixes", 1.5),
    ],
)
def test_the_statistic_of_a_run(name: str, value: float) -> None:
    assert values(name, [stored("vae")]) == {"VAE-10": {0: pytest.approx(value)}}


def test_two_families_are_paired_by_seed_and_setting() -> None:
    runs = [
        stored("vae", 0),
        stored("vae", 1),
        stored("dvae", 1, factor=0.5),
        stored("dvae", 2),
        stored("dvae", 1, dim=50),
        stored("dvae", 1, chain=RUNNING),
    ]
    assert values("alike-at-start", runs) == {"DVAE/VAE-10": {1: 0.5}}
    assert values("denoising-later", runs) == {"DVAE/VAE-10": {1: 0.5}}


def test_the_distances_from_the_prior_are_subtracted() -> None:
    runs = [stored("vae"), stored("aae")]
    difference = abs(math.log(0.9)) - abs(math.log(0.8))
    assert values("closer-prior", runs) == {"VAE/AAE-10": {0: pytest.approx(difference)}}
    assert values("narrow-codes", runs) == {"AAE-10": {0: 0.8}}


def test_other_chains_are_left_out_and_running_statistics_are_a_setting() -> None:
    runs = [stored("vae", chain=chain) for chain in (RUNNING, BATCH, "langevin, batch BN")]
    assert list(values("improves", runs)) == ["VAE-10", "VAE-10 running BN"]


def test_settings_are_in_order_and_name_their_sweep_if_there_are_several() -> None:
    runs = [stored("vae", dim=dim) for dim in (200, 10, 50)]
    assert list(values("improves", runs)) == ["VAE-10", "VAE-50", "VAE-200"]
    other = stored("vae")
    other = other._replace(tags={**other.tags, "sweep": "t"})
    assert list(values("improves", [runs[1], other])) == ["s: VAE-10", "t: VAE-10"]


def test_what_a_run_does_not_have_is_no_value() -> None:
    run = stored("vae")._replace(chain={"fcd": {0: 100.0}, "fcd_val": {0: 90.0}}, scalars={})
    for one in CRESWELL:
        assert not measure(one, group_runs([run]))
    stuck = run._replace(chain={"rhat": {10: math.inf}})
    assert values("mixes", [stuck]) == {"VAE-10": {0: 10_000.0}}


def test_a_claim_without_runs_says_what_makes_them() -> None:
    (row,) = decide_claims(claims_of("creswell", ["more-in-aae"]), [stored("vae"), stored("aae")])
    assert row.verdict == "undecided"
    assert row.missing.startswith("no runs of daae, dvae; this makes them: python sweeps/claims")
    (row,) = decide_claims(claims_of("creswell", ["narrow-codes"]), [stored("vae")])
    assert row.verdict == "not measured" and "--claims narrow-codes" in row.missing


def test_a_claim_with_too_few_seeds_says_which_sweep_to_continue() -> None:
    runs = [*(stored("vae", seed) for seed in range(3)), stored("dvae", 1)]
    command = "python sweeps/latent_dim.py --seeds 1 2 --dataset mnist --name=s --resume --noise 1"
    runs = [run._replace(tags={**run.tags, "command": command}) for run in runs]
    (row,) = decide_claims(claims_of("creswell", ["alike-at-start"]), runs)
    assert row.missing == (
        "no runs of dvae in s with the seeds 0, 2; this makes them: python sweeps/latent_dim.py "
        "--dataset mnist --noise 1 --name s --resume --seeds 0 1 2"
    )
    table = runs[0]._replace(tags={**runs[0].tags, "study": "paper_tables"})
    assert more_seeds(table, [0, 1, 2]).endswith("--name s --resume --seeds 3")


def test_a_sweep_that_has_not_trained_all_models_of_a_claim_is_continued() -> None:
    command = "python sweeps/claims.py --claims narrow-codes more-in-aae --dataset digits"
    runs = [stored("vae"), stored("aae", 4)]
    runs = [run._replace(tags={**run.tags, "command": command}) for run in runs]
    (row,) = decide_claims(claims_of("creswell", ["more-in-aae"]), runs)
    assert row.missing == (
        f"no runs of daae, dvae; this makes them: {command} --name s --resume --seeds 0 4"
    )
    other = "this makes them: python sweeps/claims.py --paper creswell --claims denoises --dataset"
    (row,) = decide_claims(claims_of("creswell", ["denoises"]), runs)
    assert other in row.missing


def test_a_claim_about_colours_says_that_it_needs_them() -> None:
    (row,) = decide_claims(claims_of("creswell", ["desaturates"]), [stored("vae"), stored("dvae")])
    assert row.verdict == "not measured" and row.missing == "it needs colour images"


def test_claims_of_another_paper_are_refused() -> None:
    with pytest.raises(ValueError, match="the claims of makhzani are fills, .*improves"):
        claims_of("makhzani", ["improves"])


def test_a_model_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def measure_one(_: object, run: StoredRun, names: list[str]) -> dict[str, float]:
        assert names == ["chains"]
        if run.tags["seed"] == "2":
            raise KeyboardInterrupt
        measured.append(run.run_id)
        return {"denoising_gain_0.5": 5.0 + len(measured)}

    monkeypatch.setattr("genae_core.recipes.claim_models._Subjects.measure", measure_one)
    monkeypatch.setattr("genae_core.recipes.claim_models._log", lambda *_: None)
    claims = claims_of("creswell", ["denoises", "desaturates"])
    claims[1] = claims[1]._replace(models=(("aae", "vae"),))  # no DVAE is asked for its colours
    runs = [stored("vae", chain="langevin"), *(stored("dvae", seed) for seed in range(3))]
    with pytest.raises(KeyboardInterrupt):
        with_measures(runs, claims, "sqlite:///x", tmp_path)
    runs.pop()
    values_of_runs = with_measures(runs, claims, "sqlite:///x", tmp_path)
    assert measured == [run.run_id for run in runs[1:]]
    assert values("denoises", values_of_runs) == {"DVAE-10": {0: 6.0, 1: 7.0}}
    assert values_of_runs[0] == runs[0]  # nothing is asked about the VAE


def test_values_of_earlier_versions_are_those_of_the_chain(tmp_path: Path) -> None:
    sealed.write(tmp_path / "measures.json", {"measures": {"a": {"start_gap": 2.0}}})
    assert read_measures(tmp_path) == ({"a": {"start_gap": 2.0}}, {"a": ["chains"]})


@pytest.mark.parametrize("able, precision", [(True, "bf16"), (False, "fp32")])
def test_a_model_computes_as_in_its_run_if_the_cpu_can(
    able: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genae_core.recipes.claim_models.has_bf16", lambda: able)
    run = ComputeConfig(precision="bf16", channels_last=True, cuda_graphs=True)
    compute = compute_of(dataclasses.replace(tiny.experiment(), compute=run))
    assert (compute.precision, compute.channels_last) == (precision, True)
    assert not compute.cuda_graphs  # the models are on the CPU
    assert compute_of(tiny.experiment()).precision == "fp32"


@pytest.mark.slow
def test_what_is_measured_on_models_is_logged_to_their_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker.create(new_store(tmp_path), "claims", tmp_path / "artifacts")
    run = stored("dvae")
    started = tracker.start("key", "name", run.tags, {}, 1)
    tracker.finish(started.run_id)
    run = run._replace(run_id=started.run_id)
    colours = {"saturation@0": 0.5, "saturation@5": 0.25, "saturation_se@5": 0.01}
    measured = {"saturation_real": 0.75, **colours}
    monkeypatch.setattr(
        "genae_core.recipes.claim_models._Subjects.measure", lambda *_: dict(measured)
    )
    claims = claims_of("creswell", ["desaturates"])
    (one,) = with_measures([run], claims, tracker.uri, tmp_path)
    assert one.scalars == {**run.scalars, **measured}
    (again,) = tracker.read_runs("s", ["saturation", "saturation_se"])
    assert again.scalars["saturation_real"] == 0.75 and again.status == "FINISHED"
    assert again.chain == {"saturation": {0: 0.5, 5: 0.25}, "saturation_se": {5: 0.01}}

    def refuse(*_: object) -> None:
        raise StoreError("the database is read-only")

    monkeypatch.setattr(Tracker, "log_metrics", refuse)
    (one,) = with_measures([again], claims, tracker.uri, tmp_path)
    assert not capsys.readouterr().out  # the run has the values already
    (one,) = with_measures([run], claims, tracker.uri, tmp_path)
    assert one.scalars == {**run.scalars, **measured}
    note = "note: the store cannot be written, so what was measured on the models is in measures"
    assert capsys.readouterr().out.startswith(note)


def test_the_distances_to_training_images_are_compared() -> None:
    run = stored("vae")
    distances = {"nearest_copied": 2.0, "nearest_chain": 6.0, "nearest_real": 4.0}
    run = run._replace(scalars={**distances, "path_start": 0.5, "path_later": 0.75})
    assert values("copies", [run]) == {"VAE-10": {0: 0.5}}
    assert values("novel", [run]) == {"VAE-10": {0: 3.0}}
    assert values("paths", [run]) == {"VAE-10": {0: 1.5}}


class Tags(html.parser.HTMLParser):
    """Checks that every tag is closed, and collects the texts and the attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {name for name, _ in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.slow
def test_the_ledger_of_a_stored_sweep_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker.create(new_store(tmp_path), "latent_dim", tmp_path / "artifacts")
    for seed in range(4):
        for family, factor in (("vae", 1.0), ("dvae", 0.5)):
            run = stored(family, seed, factor=factor + 0.01 * seed)
            started = tracker.start(run.run_id, run.run_id, run.tags, {}, 1)
            rows = [
                (f"chain/{name}", value * (1 + 0.01 * seed), step)
                for name, curve in run.chain.items()
                for step, value in curve.items()
            ]
            tracker.log_metrics(started, rows)
            tracker.log_scalars(started.run_id, run.scalars)
            tracker.finish(started.run_id)
    out = tmp_path / "new" / "out"
    (tmp_path / "s").mkdir()
    claims = claims_of("creswell", ["improves", "alike-at-start", "more-in-aae"])
    write_ledger(claims, LedgerSource("creswell", tracker.uri, ["s"], tmp_path, (10, 50)), out)
    printed = capsys.readouterr().out
    text = (out / "claims.txt").read_text()
    assert text in printed
    assert "alike-at-start: refuted in DVAE/VAE-10" in text
    assert re.search(r"more-in-aae: not measured\n.*\n.*\n  no runs of aae, daae; this", text)
    assert "correction for all 3 tests" in text
    stored_ledger = json.loads((out / "claims.json").read_text())
    claim = stored_ledger["claims"][2]
    assert claim["verdict"] == "refuted" and claim["settings"][0]["seeds"] == 4
    assert len(claim["settings"][0]["run_ids"]) == 8
    page = (out / "claims.html").read_text()
    tags = Tags(page)
    assert "refuted in DVAE/VAE-10" in tags.text
    assert "style" not in tags.names  # the policy of the page would ignore it
    assert 'href="../../s/explorer.html"' in page
    with pytest.raises(ValueError, match="--latent-dims must be among 10, got latent_dims"):
        write_ledger(claims, LedgerSource("creswell", tracker.uri, ["s"], tmp_path, (50,)), out)


def test_a_sweep_that_does_not_exist_is_named(tmp_path: Path) -> None:
    tracker = Tracker.create(new_store(tmp_path), "latent_dim", tmp_path / "artifacts")
    with pytest.raises(ValueError, match="no sweep 'no'"):
        missing = LedgerSource("creswell", tracker.uri, ["no"], tmp_path)
        write_ledger(claims_of("creswell", []), missing, tmp_path)
    nowhere = tmp_path / "nowhere.db"
    source = LedgerSource("creswell", f"sqlite:///{nowhere}", ["s"], tmp_path)
    with pytest.raises(ValueError, match="there is no store at"):
        write_ledger(claims_of("creswell", []), source, tmp_path)
    assert not nowhere.exists()
