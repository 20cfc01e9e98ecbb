"""The baseline of prepare_data.py: a plain loop in each of two processes makes the same shards,
without a cluster, a manifest or checks, and cannot be resumed.

  python jobs/benchmarks/plain_loops.py simplejpeg RAW OUT
"""

import io
import math
import multiprocessing
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

SIZE, ACROSS, CROP = 64, 178, 148  # pixels: side of a result, width of an image, its square
SHARD_ROWS = 128 * 2**20 // (3 * SIZE * SIZE)
GROUP_ROWS = 8 * 2**20 // (3 * SIZE * SIZE)


def by_simplejpeg(content: bytes) -> NDArray[np.uint8]:
    """Decode at half the size with libjpeg-turbo, crop, and resize with torch: [3, 64, 64]."""
    import simplejpeg
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    scale = SIZE / CROP
    image = simplejpeg.decode_jpeg(
        content,
        "RGB",
        min_height=math.ceil(218 * scale),
        min_width=math.ceil(ACROSS * scale),
        min_factor=2,
    )
    height, width = image.shape[:2]
    side = round(CROP / ACROSS * width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(image[top : top + side, left : left + side]).permute(2, 0, 1)
    pixels = F.interpolate(square[None], (SIZE, SIZE), mode="bilinear", antialias=True)
    return pixels[0].numpy()


def by_pil(content: bytes) -> NDArray[np.uint8]:
    """Decode, crop and resize with Pillow: [3, 64, 64]."""
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert("RGB")
    top, left = (image.height - CROP) // 2, (image.width - CROP) // 2
    square = image.crop((left, top, left + CROP, top + CROP))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def write(arm: str, out: str, job: tuple[str, list[str]]) -> int:
    """Write one shard of these files. Returns their number."""
    name, files = job
    decode = {"simplejpeg": by_simplejpeg, "pil": by_pil}[arm]
    images = np.empty((len(files), 3, SIZE, SIZE), np.uint8)
    for row, file in enumerate(files):
        images[row] = decode(Path(file).read_bytes())
    columns = {
        "image": pa.FixedShapeTensorArray.from_numpy_ndarray(images),
        "label": pa.array(np.zeros(len(files), np.int64)),
        "name": pa.array([Path(file).name for file in files]),
    }
    pq.write_table(
        pa.table(columns),
        f"{out}/{name}.parquet",
        row_group_size=GROUP_ROWS,
        use_byte_stream_split=["image.list.element"],
        use_dictionary=False,
        compression="lz4",
        write_batch_size=2**17,
        write_statistics=False,
    )
    return len(files)


def main(arm: str, raw: str, out: str) -> None:
    """Make the splits of prepare_data.py, in as many shards."""
    files = sorted(str(path) for path in Path(raw).iterdir())
    held = len(files) // 8
    order = np.random.default_rng(0).permutation(len(files))
    parts = zip(("val", "test", "train"), np.split(order, [held, 2 * held]), strict=True)
    jobs = [
        (f"{split}-{number:05d}", [files[row] for row in np.sort(rows)])
        for split, index in parts
        for number, rows in enumerate(np.array_split(np.sort(index), -(-len(index) // SHARD_ROWS)))
    ]
    jobs.sort(key=lambda job: -len(job[1]))
    Path(out).mkdir(parents=True)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        done = sum(pool.imap_unordered(partial(write, arm, out), jobs, chunksize=1))
    assert done == len(files)


if __name__ == "__main__":
    main(*sys.argv[1:])
