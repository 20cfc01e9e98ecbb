"""draw_samples(): many samples after k steps of a chain, in parts that survive whatever stops it.

Shapes: N samples, C channels, H rows, W columns, D latent dimension.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from genae_core import config
from genae_core.config import require, require_positive_int
from genae_core.data.shards import tensors
from genae_core.data.storage import Folder
from genae_core.distributions.base import Distribution
from genae_core.models.base import GenerativeModel
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import run_chain
from genae_core.training import checkpoint

Format = Literal["parquet", "png"]
PLAN, MANIFEST = "plan.json", "samples.json"
PART_BYTES = 2**26  # of pixels in a part, at most, but for one sub-batch


class Part(NamedTuple):
    """Chains first, ..., last - 1 of the run; first is a multiple of the sub-batch."""

    number: int
    first: int
    last: int

    @property
    def file(self) -> str:
        return f"part-{self.number:05}.parquet"

    @property
    def receipt(self) -> str:
        """The file that says that the part is finished: its files and their sha256."""
        return f".done/part-{self.number:05}.json"


class Job(NamedTuple):
    """What every worker is told.

    model: the folder of the checkpoint and what it holds, so that it need not be seen from every
    node. chain: recorded at 0 and at the one step that is wanted. law: the chain's, fitted.
    """

    tensors: dict[str, Tensor]
    description: dict[str, Any]
    chain: ChainConfig
    fitted_prior: Distribution | None
    format: Format
    out: Folder
    device: str


class Worker(NamedTuple):
    """A job, with its model built once."""

    job: Job
    model: GenerativeModel


Each = Callable[[Job, Sequence[Part]], Iterator[int]]


def job_of(
    folder: Path,
    chain: ChainConfig,
    step: int,
    out: Folder,
    format: Format = "parquet",
    fitted_prior: Distribution | None = None,
    device: str = "cpu",
) -> Job:
    """The samples of the checkpoint in `folder`, `step` steps along the chain.

    Raises ValueError for a step below 0, a chain that starts from images, a format that is not
    known, and a checkpoint that is missing, broken, or no model's.
    """
    whole = type(step) is int and step >= 0
    require(whole, "the number of steps must be a whole number >= 0", steps=step)
    require(format in ("parquet", "png"), 'format must be "parquet" or "png"', format=format)
    require(
        chain.sampler.starts_from == "prior",
        "samples begin at the latent law; this chain begins at images",
        sampler=type(chain.sampler).__name__,
    )
    found, description = checkpoint.read(folder)
    checkpoint.model_of(found, description, str(folder))  # raises where it holds something else
    record = (0, step) if step else (0,)
    chain = dataclasses.replace(chain, record=record, num_chains=None)
    return Job(found, description, chain, fitted_prior, format, out, device)


def started(job: Job) -> Worker:
    """The job with its model on the worker's device."""
    model = checkpoint.model_of(job.tensors, job.description, "the job").to(job.device)
    return Worker(job._replace(fitted_prior=on_device(job.fitted_prior, job.device)), model)


def on_device(fitted_prior: Distribution | None, device: str) -> Distribution | None:
    """A law that was fitted elsewhere."""
    return fitted_prior.to(device) if isinstance(fitted_prior, nn.Module) else fitted_prior


def one_by_one(job: Job, parts: Sequence[Part]) -> Iterator[int]:
    """The parts made in this process."""
    worker = started(job)
    return (make(worker, part) for part in parts)


def draw_samples(
    job: Job,
    num_samples: int,
    each: Each = one_by_one,
    on_plan: Callable[[int, int], None] = lambda *_: None,
    on_part: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Write `num_samples` samples to `job.out`, or go on where an earlier call has stopped; the
    manifest, which is written last.

    The first so many of a larger number are the same samples. on_plan: sees the number of samples
    and of those that are there. on_part: the number of samples of each part that is made.
    Raises ValueError where `out` holds other samples or something else, OSError where a disk or a
    store fails, FloatingPointError where a chain is not finite; what is finished is kept.
    """
    require_positive_int(num_samples=num_samples)
    about = _about(job, num_samples)
    if job.out.exists(MANIFEST):
        manifest: dict[str, Any] = json.loads(job.out.read(MANIFEST))
        _check_same(manifest["plan"], about, job.out)
        on_plan(num_samples, num_samples)
        return manifest
    if job.out.exists(PLAN):
        _check_same(json.loads(job.out.read(PLAN)), about, job.out)
    else:
        empty = not job.out.exists() or not job.out.files()
        require(empty, "the folder for the samples must be empty", out=job.out.uri)
        job.out.write(PLAN, json.dumps(about, indent=1).encode())
    images = max(1, PART_BYTES // int(np.prod(job.description["shape"])))
    parts = parts_of(job.chain.sub_batch, num_samples, images)
    todo = [part for part in parts if not job.out.exists(part.receipt)]
    on_plan(num_samples, num_samples - sum(part.last - part.first for part in todo))
    try:
        for count in each(job, todo) if todo else ():
            on_part(count)
    except FloatingPointError:
        if not any(job.out.exists(part.receipt) for part in parts):
            job.out.delete(PLAN)  # the folder is free again for a chain that does not run away
        raise
    job.out.delete_unfinished()
    files = [json.loads(job.out.read(part.receipt)) for part in parts]
    manifest = {"plan": about, "parts": files}
    job.out.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def parts_of(sub_batch: int, num_samples: int, most: int) -> list[Part]:
    """Whole sub-batches each, but for the last, of at most so many samples if a sub-batch is."""
    size = max(1, most // sub_batch) * sub_batch
    starts = range(0, num_samples, size)
    return [
        Part(number, first, min(first + size, num_samples)) for number, first in enumerate(starts)
    ]


def make(worker: Worker, part: Part) -> int:
    """Run the part's chains and write them, whole or not at all; their number."""
    job, chain = worker.job, worker.job.chain
    images, codes = [], []
    for record in run_chain(
        worker.model,
        chain,
        part.last - part.first,
        fitted_prior=job.fitted_prior,
        first_chain=part.first,
    ):
        if record.step == chain.record[-1]:
            scaled = (record.chain.mean.clamp(0, 1) * 255).round().byte()
            images.append(scaled.cpu().numpy())
            codes.append(record.chain.z.float().cpu().numpy())
    pixels, z = np.concatenate(images), np.concatenate(codes)
    write = _parquet if job.format == "parquet" else _png
    files = write(job.out, part, pixels, z)
    about = {"first": part.first, "last": part.last, "files": files}
    job.out.write(part.receipt, json.dumps(about).encode())
    return len(pixels)


def _parquet(
    out: Folder, part: Part, images: NDArray[np.uint8], z: NDArray[np.float32]
) -> dict[str, str]:
    """image: uint8 [C, H, W]; z: float32 [D]; chain: its number in the run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    codes = pa.FixedSizeListArray.from_arrays(pa.array(z.reshape(-1)), z.shape[1])
    table = pa.table(
        {
            "image": tensors(images),
            "z": codes,
            "chain": pa.array(np.arange(part.first, part.last)),
        }
    )
    with out.writing(part.file) as file:
        pq.write_table(table, file, compression="lz4", write_statistics=False)
    return {part.file: file.digest.hexdigest()}


def _png(
    out: Folder, part: Part, images: NDArray[np.uint8], z: NDArray[np.float32]
) -> dict[str, str]:
    """NUMBER.png for each chain; z is left to Parquet."""
    files = {}
    for number, image in enumerate(images, part.first):
        shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        content = io.BytesIO()
        Image.fromarray(shown).save(content, "PNG")
        name = f"{number:09}.png"
        out.write(name, content.getvalue())
        files[name] = hashlib.sha256(content.getvalue()).hexdigest()
    return files


def _about(job: Job, num_samples: int) -> dict[str, Any]:
    """All that decides the samples."""
    law: dict[str, str] | None = None
    if job.fitted_prior is not None:
        law = {"law": type(job.fitted_prior).__name__}
        if isinstance(job.fitted_prior, nn.Module):
            law["sha256"] = checkpoint.weights_digest(job.fitted_prior)
    return {
        "samples": num_samples,
        "device": torch.device(job.device).type,
        "format": job.format,
        "model": job.description["model"],
        "weights": job.description["sha256"],
        "chain": config.to_dict(job.chain),
        "law": law,  # the key that plans had up to version 0.1
        "genae": version("genae"),
    }


def _check_same(stored: dict[str, Any], about: dict[str, Any], out: Folder) -> None:
    if config.canonical(stored) != config.canonical(about):
        raise ValueError(
            f"{out.uri} holds other samples (see {PLAN} or {MANIFEST}): choose another folder"
        )
