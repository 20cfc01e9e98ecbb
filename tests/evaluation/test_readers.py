"""Shards and samples, finished or not, opened by pyarrow, pandas and Hugging Face's datasets."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from contracts.readers import read_files, read_folder
from contracts.store import s3
from PIL import Image
from pyarrow.fs import S3FileSystem

from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.preparation import prepare
from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw
from genae_core.evaluation import generate
from genae_core.evaluation.chain_parts import read_portable_chain
from genae_core.evaluation.generate import SamplingJob, draw_samples, sampling_job
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.training.checkpoint import save_model

SHAPE = (1, 8, 8)
COUNT = 10


@pytest.fixture
def images(tmp_path: Path) -> ImageFolderConfig:
    """Nine images and a file that is none."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(COUNT - 1):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    (folder / "broken.png").write_text("no picture")
    return ImageFolderConfig(root=str(folder), size=32)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SamplingJob:
    """Samples in parts of four."""
    monkeypatch.setattr(generate, "PART_BYTES", 4 * 64)
    config = VAEConfig(latent_dim=2, net=MLPConfig(widths=(8,)))
    with Draw(0).as_global():
        model = config.build(SHAPE)
    save_model(tmp_path / "model", model, config, SHAPE, Draw(0))
    chain = ChainConfig(sampler=EncodeDecode(), sub_batch=4)
    source = read_portable_chain(tmp_path / "model", chain)
    return sampling_job(source, 1, Folder(tmp_path / "samples"))


def stop(_: object) -> None:
    raise KeyboardInterrupt


def all_readers(rows: int) -> dict[str, int]:
    return {"pyarrow": rows, "pandas": rows, "datasets": rows}


def test_shards_are_opened(images: ImageFolderConfig, tmp_path: Path) -> None:
    prepare(images, Folder(tmp_path / "shards"), max_rejected=0.2)
    assert read_folder(tmp_path / "shards") == all_readers(COUNT - 1)
    assert read_files(tmp_path / "shards") == {".parquet": 3, ".json": 1, ".csv": 1}


def test_samples_are_opened_before_and_after_they_are_complete(
    job: SamplingJob, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        draw_samples(job, COUNT, on_part=stop)
    assert read_folder(tmp_path / "samples") == all_readers(4)
    draw_samples(job, COUNT)
    assert read_folder(tmp_path / "samples") == all_readers(COUNT)
    assert read_files(tmp_path / "samples") == {".parquet": 3, ".json": 3 + 2}


@pytest.mark.slow
def test_samples_on_a_store_are_opened_under_an_odd_name(job: SamplingJob) -> None:
    with s3("bucket"):
        out = Folder("s3://bucket/a b?c#d%25é/samples")
        with pytest.raises(KeyboardInterrupt):
            draw_samples(job._replace(out=out), COUNT, on_part=stop)
        draw_samples(job._replace(out=Folder(out.uri)), COUNT)
        # pyarrow's own file system takes names and not URIs.
        system = S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"])
        table = pq.read_table("bucket/a b?c#d%é/samples", filesystem=system)
        assert table.num_rows == COUNT


def test_png_samples_are_opened(job: SamplingJob, tmp_path: Path) -> None:
    draw_samples(job._replace(format="png"), COUNT)
    visible = [path for path in (tmp_path / "samples").iterdir() if path.name[0] not in "._"]
    assert len(visible) == COUNT
    assert all(np.asarray(Image.open(path)).shape == SHAPE[1:] for path in visible)


def test_samples_of_version_0_1_are_read_and_continued(job: SamplingJob, tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    with pytest.raises(KeyboardInterrupt):
        draw_samples(job, COUNT, on_part=stop)
    (folder / ".plan.json").rename(folder / "plan.json")
    plans: list[tuple[int, int]] = []
    draw_samples(job, COUNT, on_plan=lambda total, written: plans.append((total, written)))
    assert plans == [(COUNT, 4)] and read_folder(folder) == all_readers(COUNT)
    for name in ("plan.json", "samples.json"):
        (folder / f".{name}").rename(folder / name)
    draw_samples(job, COUNT, on_plan=lambda total, written: plans.append((total, written)))
    assert plans[1] == (COUNT, COUNT) and not (folder / ".samples.json").exists()
    with pytest.raises(ValueError, match="samples was 10 and is 11 now; choose another folder"):
        draw_samples(job, COUNT + 1)
