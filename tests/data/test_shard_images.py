"""Reading shards: one mapped copy, or a stream that gives the same images."""

import multiprocessing
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from genae_core.data import shard_images, shards
from genae_core.data.base import ArraySource, Split, Splits
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.preparation import prepare
from genae_core.data.shard_images import StreamedImages, open_shards
from genae_core.data.shards import ShardReader
from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.training.batches import Batches, to_pixels
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import fit

IMAGE = 3 * 32 * 32  # bytes
GROUP = 4  # images in a row group
COUNT = 48  # of 64 images


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """48 noisy training images in 5 shards of row groups of 4 images."""
    root = tmp_path_factory.mktemp("shards")
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    for number, pixels in enumerate(noise):
        path = root / "raw" / f"class{number % 3}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", 10 * IMAGE)
        patch.setattr(shards, "GROUP_BYTES", GROUP * IMAGE)
        prepare(ImageFolderConfig(root=str(root / "raw"), size=32), Folder(root / "out"))
    return Folder(root / "out")


@pytest.fixture
def whole(prepared: Folder, tmp_path: Path) -> Splits:
    return open_shards(prepared, tmp_path / "cache")


def stream(prepared: Folder, tmp_path: Path, groups: int) -> StreamedImages:
    """The training images with a budget that holds so many row groups."""
    budget = (groups + shard_images.READING_GROUPS) * GROUP * IMAGE
    images = open_shards(prepared, tmp_path / "cache", budget).train.images
    assert isinstance(images, StreamedImages) and images.capacity == groups
    return images


def test_the_copy_is_made_once_and_mapped_read_only(prepared: Folder, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = open_shards(prepared, cache)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    second = open_shards(prepared, cache)
    assert len(files) == 6
    assert files == {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    np.testing.assert_array_equal(np.asarray(first.train.images), np.asarray(second.train.images))
    images = first.train.images
    assert type(images) is np.ndarray and not images.flags.writeable
    assert isinstance(images.base, np.memmap)


def _open(uri: str, cache: Path, results: "multiprocessing.Queue[str]") -> None:
    results.put(open_shards(Folder(uri), cache).sha256)


@pytest.mark.slow
def test_processes_that_start_together_share_the_copy(prepared: Folder, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # which imports only once
    preload = ["pytest", "genae_core.data.shards", "genae_core.training.loop"]
    context.set_forkserver_preload(preload)
    results = context.Queue()
    cache = tmp_path / "cache"
    processes = [
        context.Process(target=_open, args=(prepared.uri, cache, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    assert len({results.get(timeout=60) for _ in processes}) == 1
    for process in processes:
        process.join()
    assert len(list(cache.rglob("*.npy"))) == 6
    assert not [path for path in cache.rglob(".*") if path.is_dir()]


@pytest.mark.parametrize("groups", [1, 2, 5, 100])
def test_a_stream_gives_the_same_images(
    prepared: Folder, whole: Splits, tmp_path: Path, groups: int
) -> None:
    images = stream(prepared, tmp_path, groups) if groups < 10 else None
    if images is None:  # within the budget nothing is streamed
        roomy = open_shards(prepared, tmp_path / "cache", budget=COUNT * IMAGE)
        assert isinstance(roomy.train.images, np.ndarray)
        return
    wanted = np.asarray(whole.train.images)
    assert images.shape == wanted.shape and len(images) == COUNT
    np.testing.assert_array_equal(images[np.arange(COUNT)], wanted)
    index = np.random.default_rng(1).integers(COUNT, size=200)
    np.testing.assert_array_equal(images[index], wanted[index])
    np.testing.assert_array_equal(images.labels(), whole.train.labels)
    assert len(images.cached) <= groups
    with pytest.raises(IndexError):
        images[np.array([COUNT])]
    with pytest.raises(IndexError):
        images[np.array([-1])]


def test_the_stream_says_so_and_shares_its_budget(prepared: Folder, tmp_path: Path) -> None:
    groups = 6
    budget = 2 * (groups + shard_images.READING_GROUPS) * GROUP * IMAGE
    budget = min(budget, COUNT * IMAGE - 1)
    one = open_shards(prepared, tmp_path / "cache", budget)
    two = open_shards(prepared, tmp_path / "cache", budget, readers=2)
    assert "they are streamed, and shuffled within windows of" in one.notes[-1]
    assert isinstance(one.train.images, StreamedImages)
    assert isinstance(two.train.images, StreamedImages)
    assert two.train.images.capacity < one.train.images.capacity


@pytest.mark.parametrize("count", [48, 30, 5])
def test_an_epoch_visits_every_image_once_window_by_window(
    prepared: Folder, tmp_path: Path, count: int
) -> None:
    images = stream(prepared, tmp_path, 3)
    draw = Draw(0, "training")
    first, second = images.order(count, draw), images.order(count, draw)
    again = images.order(count, Draw(0, "training"))
    np.testing.assert_array_equal(first, again)
    assert sorted(first) == sorted(second) == list(range(count))
    if count < COUNT:
        return
    assert list(first) != list(second)
    sizes = np.diff(np.append(images.firsts, COUNT))
    groups = np.searchsorted(images.firsts, first, side="right") - 1
    while len(groups):  # each window is three whole groups, shuffled among each other
        inside = list(dict.fromkeys(groups.tolist()))[:3]
        rows = int(sizes[inside].sum())
        assert set(groups[:rows]) == set(inside)
        groups = groups[rows:]


def test_an_epoch_reads_each_row_group_about_once(
    prepared: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = stream(prepared, tmp_path, 3)
    reads: list[int] = []
    read = ShardReader.images
    monkeypatch.setattr(
        ShardReader, "images", lambda reader, group: reads.append(group) or read(reader, group)
    )
    order = images.order(COUNT, Draw(0, "training"))
    for start in range(0, COUNT, 4):
        images[order[start : start + 4]]
    # A batch on the edge of two windows may ask for a group that has just made room.
    assert len(images.groups) <= len(reads) <= 1.5 * len(images.groups)


@pytest.mark.parametrize("where", ["pixel", "page header", "end"])
def test_a_shard_that_changes_while_it_is_open_is_not_read(
    prepared: Folder, tmp_path: Path, where: str
) -> None:
    shutil.copytree(prepared.uri, tmp_path / "shards")
    images = stream(Folder(tmp_path / "shards"), tmp_path, 2)
    before = images[np.arange(1)]
    path = Path(images.folder.path_of(images.shards[0].file))
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    first, size = column.data_page_offset, column.total_compressed_size
    content = bytearray(path.read_bytes())
    if where == "end":
        del content[first:]
    else:
        content[first + (size // 2 if where == "pixel" else 1)] ^= 0xFF
    with path.open("r+b") as file:  # the same file, which the reader has open
        file.write(content)
        file.truncate()
    np.testing.assert_array_equal(images[np.arange(1)], before)  # kept, and as it was
    second = images.firsts[1]
    with pytest.raises(ValueError, match="is not the shard that was written.*prepare the data"):
        images[np.arange(second, second + 1)]


def test_a_stream_travels_to_another_process(
    prepared: Folder, whole: Splits, tmp_path: Path
) -> None:
    images = stream(prepared, tmp_path, 2)
    images[np.arange(10)]
    text = pickle.dumps(images)
    assert len(text) < 10_000
    np.testing.assert_array_equal(
        pickle.loads(text)[np.arange(COUNT)], np.asarray(whole.train.images)
    )


def test_the_same_seed_trains_the_same_by_streaming(prepared: Folder, tmp_path: Path) -> None:
    """And other batches than from memory, where the whole set is shuffled."""
    net = MLPConfig(widths=(8,))

    def train(images: StreamedImages) -> list[float]:
        draw = Draw(0, "training")
        with draw.as_global():
            model = VAEConfig(latent_dim=2, net=net).build((3, 32, 32))
        split = Split(images, np.zeros(len(images), np.int64))
        batches = Batches(split, len(images), False, torch.device("cpu"))
        training = TrainingConfig(epochs=2, batch_size=8)
        points, _ = fit(model, model.stages(), batches.examples(), training, draw)
        return [value for point in points for value in point.terms.values()]

    assert train(stream(prepared, tmp_path, 3)) == train(stream(prepared, tmp_path, 3))


def test_batches_gathered_on_the_device_are_the_same(whole: Splits) -> None:
    cpu = torch.device("cpu")
    index = np.random.default_rng(2).integers(40, size=16)
    for binarize in (False, True):
        plain = Batches(whole.train, 40, binarize, cpu)
        placed = Batches(whole.train, 40, binarize, cpu, num_labelled=30)
        placed.copy_to_device()
        assert placed.images_on_device is not None and placed.images_on_device.dtype == torch.uint8
        images = to_pixels(np.asarray(whole.train.images)[index], binarize, cpu)
        assert torch.equal(plain(index).x, images) and torch.equal(placed(index).x, images)
        labels = torch.from_numpy(whole.train.labels[index])
        assert torch.equal(plain(index).labels, labels)
        hidden = torch.where(torch.from_numpy(index) < 30, labels, -1)
        assert torch.equal(placed(index).labels, hidden)
    with pytest.raises(IndexError):
        placed(np.array([40]))


STREAM = """
import resource, sys
import numpy as np
import pyarrow.parquet as pq
import torch
from genae_core.data.base import Split
from genae_core.training.batches import Batches
from genae_core.data.storage import Folder
from genae_core.data.shard_images import StreamedImages, open_shards
from genae_core.data.shards import ShardReader
from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch, Examples
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.training import TrainingConfig, fit
from pathlib import Path

torch.set_num_threads(1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
draw = Draw(0, "training")
model = VAEConfig(latent_dim=2, net=MLPConfig(widths=(4,))).build((3, 64, 64))
training = TrainingConfig(epochs=1, batch_size=64)
warm = torch.rand(64, 3, 64, 64)
fit(model, model.stages(), Examples(128, lambda _: Batch(warm, warm[:, 0])), training, draw)
import pyarrow.parquet
before = peak()
images = open_shards(Folder(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])).train.images
assert isinstance(images, StreamedImages)
split = Split(images, np.zeros(len(images), np.int64))
batches = Batches(split, len(images), False, torch.device("cpu"))
fit(model, model.stages(), batches.examples(), training, draw)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_set_twice_the_budget_trains_within_the_budget(tmp_path: Path) -> None:
    """The peak grows by the budget and a little more, not by the 128 MiB of the set."""
    count, budget = 2**27 // (3 * 64 * 64), 2**26
    noise = np.random.default_rng(0).integers(0, 256, (count, 3, 64, 64), np.uint8)
    few = Split(noise[:8], np.zeros(8, np.int64))
    train = Split(noise, np.zeros(count, np.int64))
    source = ArraySource({"train": train, "val": few, "test": few}, (3, 64, 64), "none")
    data = ImageFolderConfig(root="generated")
    folder = Folder(tmp_path / "out")
    made = [
        shards.write_shard(source, spec, folder, data.shape)[0]
        for spec in shards.plan(source, data.shape)
    ]
    manifest = shards.manifest_of(data, source, made)
    folder.write(shards.MANIFEST, manifest.to_json().encode())
    done = subprocess.run(
        [sys.executable, "-c", STREAM, folder.uri, str(tmp_path / "cache"), str(budget)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < budget + 2**25
