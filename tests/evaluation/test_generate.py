"""Many samples in parts: they do not depend on the parts, nor on interruptions."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from genae_core.data import sealed
from genae_core.data.parts import map_here
from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw
from genae_core.evaluation import generate
from genae_core.evaluation.chain_parts import Part, read_portable_chain, split_into_parts
from genae_core.evaluation.generate import SamplingJob, draw_samples, sampling_job
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.ex_post import ExPostMixture
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain
from genae_core.samplers.reconstruction import Reconstruction
from genae_core.testing import tiny
from genae_core.training.checkpoint import save_model

SHAPE = (1, 8, 8)
CONFIG = VAEConfig(latent_dim=2, net=MLPConfig(widths=(8,)), noise=0.2)
CHAIN = ChainConfig(sampler=EncodeDecode(), sub_batch=4, seed=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Draw(0).as_global():
        model = CONFIG.build(SHAPE)
    save_model(tmp_path / "model", model, CONFIG, SHAPE, Draw(0))
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sub-batches a part."""
    monkeypatch.setattr(generate, "PART_BYTES", 8 * 64)


def _job(folder: Path, out: Path, step: int = 2, **settings: object) -> SamplingJob:
    chain = dataclasses.replace(CHAIN, **settings)  # type: ignore[arg-type]
    return sampling_job(read_portable_chain(folder, chain), step, Folder(out))


def _changed(job: SamplingJob, **changes: Any) -> SamplingJob:
    """The job with another model, fitted prior or device."""
    return job._replace(source=job.source._replace(**changes))


def _rows(out: Path) -> tuple[np.ndarray, np.ndarray, list[int]]:
    table = pq.ParquetDataset(sorted(out.glob("*.parquet"))).read()
    images = table.column("image").combine_chunks().to_numpy_ndarray()
    return images, np.array(table.column("z").to_pylist()), table.column("chain").to_pylist()


@pytest.mark.parametrize("step", [0, 2])
def test_they_are_the_chain_s_own(folder: Path, tmp_path: Path, step: int) -> None:
    job = _job(folder, tmp_path / "out", step)
    manifest = draw_samples(job, 19)
    images, z, numbers = _rows(tmp_path / "out")
    assert numbers == list(range(19)) and images.shape == (19, *SHAPE)
    assert [(p["first"], p["last"]) for p in manifest["parts"]] == [(0, 8), (8, 16), (16, 19)]
    model = job.source.load().model
    config = dataclasses.replace(CHAIN, record=(0, step) if step else (0,))
    chains = [r.chain for r in run_chain(model, config, 19) if r.step == step]
    np.testing.assert_allclose(z, torch.cat([c.z for c in chains]).numpy(), rtol=1e-6)
    wanted = (torch.cat([c.mean for c in chains]) * 255).round().byte().numpy()
    np.testing.assert_array_equal(images, wanted)


def test_fewer_are_the_first_of_more(folder: Path, tmp_path: Path) -> None:
    draw_samples(_job(folder, tmp_path / "few"), 7)
    draw_samples(_job(folder, tmp_path / "many"), 30)
    few, many = _rows(tmp_path / "few"), _rows(tmp_path / "many")
    np.testing.assert_array_equal(few[0], many[0][:7])
    np.testing.assert_array_equal(few[1], many[1][:7])


def test_what_was_stopped_goes_on_and_ends_with_the_same_bytes(
    folder: Path, tmp_path: Path
) -> None:
    draw_samples(_job(folder, tmp_path / "whole"), 30)
    numbers: list[int] = []

    def stopping(
        function: Callable[..., Any], job: Any, parts: Sequence[Part], start: Any = None
    ) -> Iterator[Any]:
        worker = start(job)
        for part in parts:
            if part.number == 2:
                raise KeyboardInterrupt
            yield function(worker, part)

    def counting(
        function: Callable[..., Any], job: Any, parts: Sequence[Part], start: Any = None
    ) -> Iterator[Any]:
        numbers.extend(part.number for part in parts)
        return map_here(function, job, parts, start)

    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        draw_samples(_job(folder, out), 30, stopping)
    assert not (out / ".samples.json").exists()
    draw_samples(_job(folder, out), 30, counting)
    assert numbers == [2, 3]
    written = [path for path in (tmp_path / "whole").rglob("*.*") if path.is_file()]
    assert len(written) == 2 * 4 + 2  # parts and receipts, the plan and the manifest
    for path in written:
        assert (out / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()
    numbers.clear()
    again = draw_samples(_job(folder, out), 30, counting)  # all parts exist, so none is made
    assert not numbers and again == sealed.read(out / ".samples.json")


def test_png_files_are_the_same_images(folder: Path, tmp_path: Path) -> None:
    job = _job(folder, tmp_path / "parquet")
    draw_samples(job, 10)
    draw_samples(job._replace(format="png", out=Folder(tmp_path / "png")), 10)
    images, _, _ = _rows(tmp_path / "parquet")
    files = sorted((tmp_path / "png").glob("*.png"))
    assert [path.name for path in files] == [f"{number:09}.png" for number in range(10)]
    for image, path in zip(images, files, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image[0])


def test_other_samples_in_the_folder_are_left_alone(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    draw_samples(_job(folder, out), 9)
    for other in (_job(folder, out, step=3), _job(folder, out, seed=4)):
        with pytest.raises(ValueError, match=r"holds other samples.*choose another folder"):
            draw_samples(other, 9)
    with pytest.raises(ValueError, match="holds other samples"):
        draw_samples(_job(folder, out), 10)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="must be empty"):
        draw_samples(_job(folder, full), 9)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]


def test_a_chain_that_diverges_leaves_the_folder_free(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = _job(folder, out)
    broken = {name: tensor * np.nan for name, tensor in job.source.tensors.items()}
    with pytest.raises(FloatingPointError, match="not finite by step 0"):
        draw_samples(_changed(job, tensors=broken), 9)
    draw_samples(_job(folder, out, step=1), 9)
    assert len(_rows(out)[2]) == 9


def test_all_that_decides_the_samples_is_in_the_plan(folder: Path, tmp_path: Path) -> None:
    """Another device or another fitted prior gives other samples."""
    job = _job(folder, tmp_path / "out", fitted_prior=ExPostMixture(components=2))
    priors = [ExPostMixture(components=2).fit(Draw(n).normal((50, 2)), Draw(0)) for n in (0, 1)]
    draw_samples(_changed(job, fitted_prior=priors[0]), 9)
    plan = json.loads((tmp_path / "out" / ".plan.json").read_text())
    assert plan["device"] == "cpu" and plan["law"]["law"] == "GaussianMixture"
    for other in (
        _changed(job, fitted_prior=priors[1]),
        _changed(job, fitted_prior=priors[0], device="cuda"),
    ):
        with pytest.raises(ValueError, match="holds other samples"):
            draw_samples(other, 9)
    draw_samples(_changed(job, fitted_prior=priors[0]), 9)


def test_bad_input_is_refused_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for step in (-1, 1.5):
        with pytest.raises(ValueError, match="number of steps must be a whole number >= 0"):
            _job(folder, out, step)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="this chain starts from images"):
        _job(folder, out, sampler=Reconstruction())
    with pytest.raises(ValueError, match="format must be"):
        sampling_job(read_portable_chain(folder, CHAIN), 1, Folder(out), "jpeg")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_samples"):
        draw_samples(_job(folder, out), 0)
    with pytest.raises(ValueError, match="no readable checkpoint"):
        _job(tmp_path / "nowhere", out)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ValueError, match="is not the file that was written"):
        _job(folder, out)
    assert not out.exists()


def test_parts_are_whole_sub_batches() -> None:
    assert split_into_parts(17, 8, 15) == [Part(0, 0, 8), Part(1, 8, 16), Part(2, 16, 17)]
    assert split_into_parts(17, 8, 16) == [Part(0, 0, 16), Part(1, 16, 17)]
    assert split_into_parts(150, 100, 15) == [Part(0, 0, 100), Part(1, 100, 150)]


def test_a_chain_may_begin_in_the_middle() -> None:
    model = built_model()
    whole = [r for r in run_chain(model, CHAIN, 14) if r.step == 2]
    later = [r for r in run_chain(model, CHAIN, 6, first_chain=8) if r.step == 2]
    assert [r.first for r in later] == [8, 12]
    for one, other in zip(whole[2:], later, strict=True):
        assert torch.equal(one.chain.z, other.chain.z)
    with pytest.raises(ValueError, match="first_chain must be a multiple of the sub-batch, 4"):
        list(run_chain(model, CHAIN, 6, first_chain=6))


def built_model() -> torch.nn.Module:
    with Draw(0).as_global():
        return CONFIG.build(tiny.splits().train.images.shape[1:])
