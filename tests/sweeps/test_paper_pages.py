"""The pages of the papers' figures, drawn by the study of tiny models."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import ONE, client_of, run, trials_of

pytestmark = pytest.mark.slow

CRESWELL = ("samples", "interpolations_vae", "interpolations_daae", "denoising_daae")
SRIDHAR = {
    "samples": {"VAE", "AAE", "AdvAE", "FlowAE"},
    "losses": {"AdvAE", "FlowAE"},
    "tsne": {"VAE", "FlowAE"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def drawn_pages(home: Path, name: str, *flags: str) -> tuple[str, dict[str, set[str]]]:
    """What the study prints, and the names of the pages that the runs of each family have.

    Every page is a PNG as wide as a text and a PDF, in the folder of the sweep.
    """
    tiny = ("--smoke", "--epochs", "1", "--name", name, *ONE)
    done = run(home, "paper_figures.py", *flags, *tiny)
    assert done.returncode == 0, done.stdout + done.stderr
    client = client_of(home)
    experiment = client.get_experiment_by_name("paper_figures")
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    logged: dict[str, set[str]] = {}
    for one in runs:
        if one.data.tags["sweep"] == name:
            files = client.list_artifacts(one.info.run_id, "figures")
            logged[one.data.tags["family"]] = {Path(file.path).name for file in files}
    for file in {file for files in logged.values() for file in files}:
        path = home / "sweeps" / name / "figures" / file
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert picture.width == 2160
                assert np.asarray(picture.convert("L")).std() > 0
        else:
            assert path.suffix == ".pdf" and path.read_bytes().startswith(b"%PDF-")
    return done.stdout, logged


def both(*names: str) -> set[str]:
    return {f"{name}.{ending}" for name in names for ending in ("png", "pdf")}


def test_the_figures_of_creswell_et_al(home: Path) -> None:
    flags = ("--paper", "creswell", "--families", "vae", "daae", "--latent-dim", "4")
    printed, logged = drawn_pages(home, "chains", *flags, "--images", "300", "--chains", "200")
    assert logged == {
        "VAE": both("samples", "interpolations_vae"),
        "DAAE": both("samples", "interpolations_daae", "denoising_daae"),
    }
    for name in CRESWELL:
        assert str(home / "sweeps" / "chains" / "figures" / f"{name}.pdf") in printed


def test_the_figures_of_sridhar_and_srivastava(home: Path) -> None:
    _, logged = drawn_pages(home, "flows", "--paper", "sridhar")
    families = set().union(*SRIDHAR.values())
    assert logged == {
        family: both(*(page for page, shown in SRIDHAR.items() if family in shown))
        for family in families
    }
    # The losses are those of the stage of the codes alone, of AdvAE two and of FlowAE one.
    client = client_of(home)
    for one in trials_of(client, client.get_experiment_by_name("paper_figures").experiment_id):
        if one.data.tags["sweep"] == "flows" and one.data.tags["family"] == "AdvAE":
            assert {"train/code_critic", "train/generator"} <= one.data.metrics.keys()


def test_figures_and_flags_of_another_paper_are_refused(home: Path) -> None:
    for flags, message in (
        (("--figures", "samples"), "the figures of makhzani are gaussian_aae"),
        (("--paper", "sridhar", "--figures", "denoising"), "the figures of sridhar are samples"),
        (("--net-width", "8"), "--paper makhzani takes no --net-width, got net_width=8"),
        (("--paper", "sridhar", "--set", "beta=2"), "--paper sridhar takes no --set"),
        (("--paper", "creswell", "--families", "gmmn"), "the paper's families are vae, dvae"),
        (("--paper", "creswell", "--images", "0"), "images must be a whole number"),
    ):
        done = run(home, "paper_figures.py", *flags)
        assert done.returncode == 2 and message in done.stdout + done.stderr, done.stderr
