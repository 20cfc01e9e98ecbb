"""draw_samples(): write many samples after k steps of a chain, in parts.

A call continues where an earlier call stopped.
Shapes: N samples, C channels, H rows, W columns, D latent dimension.
"""

import dataclasses
import hashlib
import io
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from genae_core import config
from genae_core.config import require, require_positive_int
from genae_core.config.differences import first_difference
from genae_core.config.messages import print_warning
from genae_core.data import sealed
from genae_core.data.parts import PartMapper, map_here
from genae_core.data.shards import to_tensor_array
from genae_core.data.storage import Folder
from genae_core.evaluation.chain_parts import LoadedChain, Part, PortableChain, split_into_parts
from genae_core.training import checkpoint

Format = Literal["parquet", "png"]
# Hugging Face's datasets takes every file of a folder for Parquet whose name does not begin with a
# dot, unless the names of the Parquet files name splits, as those of shards do.
PLAN, MANIFEST = ".plan.json", ".samples.json"
FORMER_PLAN, FORMER_MANIFEST = "plan.json", "samples.json"  # the names up to version 0.1
PART_BYTES = 2**26  # most bytes of pixels in a part, unless one sub-batch is larger


class SamplingJob(NamedTuple):
    """The description of many samples, which is sent to every worker.

    Attributes:
        source: The model and the chain, which records step 0 and the last step. The samples of the
            last step are written.
        format: The format of the files.
        out: The folder of the files.
    """

    source: PortableChain
    format: Format
    out: Folder


class SamplingWorker(NamedTuple):
    """A sampling job in a worker that has built the model."""

    job: SamplingJob
    chain: LoadedChain


def sampling_job(
    source: PortableChain, step: int, out: Folder, format: Format = "parquet"
) -> SamplingJob:
    """The job of writing the samples after `step` steps of a chain.

    Args:
        source: The model and the chain.
        step: The number of steps, 0 or more.
        out: The folder of the files.
        format: "parquet" or "png".

    Returns:
        The job for `draw_samples`.

    Raises:
        ValueError: The step is below 0, or the format is unknown.
    """
    whole = type(step) is int and step >= 0
    require(whole, "the number of steps must be a whole number >= 0", steps=step)
    require(format in ("parquet", "png"), 'format must be "parquet" or "png"', format=format)
    record = (0, step) if step else (0,)
    chain = dataclasses.replace(source.chain, record=record, num_chains=None)
    return SamplingJob(source._replace(chain=chain), format, out)


def start_worker(job: SamplingJob) -> SamplingWorker:
    """Build the job's model on the worker's device."""
    return SamplingWorker(job, job.source.load())


def draw_samples(
    job: SamplingJob,
    num_samples: int,
    mapper: PartMapper = map_here,
    on_plan: Callable[[int, int], None] = lambda *_: None,
    on_part: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Write samples to `job.out`, or continue where an earlier call stopped.

    A larger number of samples begins with the same samples. After an error, the finished parts
    stay. A part whose files have changed since is made again, with a warning.

    Args:
        job: The model, the chain and the folder.
        num_samples: The number of samples.
        mapper: Writes the parts, here or on a cluster.
        on_plan: Called once with the number of samples and the number that are already written.
        on_part: Called with the number of samples of each new part.

    Returns:
        The manifest, which is written last.

    Raises:
        ValueError: `out` holds other samples or other files, its plan is damaged, or it cannot be
            written.
        OSError: A disk or a store fails.
        FloatingPointError: A chain is not finite.
    """
    require_positive_int(num_samples=num_samples)
    job.out.check_writable()
    out, plan = job.out, _plan(job, num_samples)
    manifest = _read_manifest(out)
    if manifest is not None:
        _check_same(manifest["plan"], plan, out)
        if all(_is_whole(part, out) for part in manifest["parts"]):
            on_plan(num_samples, num_samples)
            return manifest
    _claim(plan, out)
    images = max(1, PART_BYTES // int(np.prod(job.source.description["shape"])))
    parts = split_into_parts(num_samples, job.source.chain.sub_batch, images)
    todo = [part for part in parts if _finished(part, out) is None]
    on_plan(num_samples, num_samples - sum(part.num_chains for part in todo))
    try:
        for count in mapper(write_part, job, todo, start_worker) if todo else ():
            on_part(count)
    except FloatingPointError:
        if not any(out.exists(_receipt(part)) for part in parts):
            out.delete(PLAN)  # the folder is free again for a chain that does not diverge
        raise
    out.delete_unfinished()
    manifest = {"plan": plan, "parts": [_read_receipt(part, out) for part in parts]}
    out.write(MANIFEST, sealed.to_text(manifest).encode())
    return manifest


def write_part(worker: SamplingWorker, part: Part) -> int:
    """Run the chains of a part, write its files and its receipt, and return how many samples."""
    job = worker.job
    images, codes = [], []
    for record in worker.chain.run(part):
        if record.step == job.source.chain.record[-1]:
            scaled = (record.chain.mean.clamp(0, 1) * 255).round().byte()
            images.append(scaled.cpu().numpy())
            codes.append(record.chain.z.float().cpu().numpy())
    pixels, z = np.concatenate(images), np.concatenate(codes)
    write = _write_parquet if job.format == "parquet" else _write_png
    files = write(job.out, part, pixels, z)
    receipt = {"first": part.first, "last": part.last, "files": files}
    job.out.write(_receipt(part), sealed.to_text(receipt).encode())
    return len(pixels)


def _receipt(part: Part) -> str:
    """The name of the receipt of a finished part, which lists its files and their sha256."""
    return f".done/part-{part.number:05}.json"


def _read_receipt(part: Part, out: Folder) -> dict[str, Any]:
    """The receipt of a finished part. Raises ValueError if it is damaged or of another part."""
    path = out.path_of(_receipt(part))
    receipt = sealed.from_text(out.read(_receipt(part)), path)
    chains = (receipt.get("first"), receipt.get("last"))
    require(chains == (part.first, part.last), f"{path} is of another part", chains=chains)
    require(isinstance(receipt.get("files"), dict), f"{path} must list files")
    return receipt


def _finished(part: Part, out: Folder) -> dict[str, Any] | None:
    """The receipt of a part that an earlier call wrote and that is whole, else None."""
    if not out.exists(_receipt(part)):
        return None
    try:
        receipt = _read_receipt(part, out)
    except ValueError as error:
        print_warning(f"the samples {part.first} to {part.last - 1} are made again: {error}")
        return None
    return receipt if _is_whole(receipt, out) else None


def _is_whole(receipt: dict[str, Any], out: Folder) -> bool:
    """Whether the files of a part are those that were written. Warns if they are not."""
    for name, digest in receipt["files"].items():
        actual = out.sha256(name) if out.exists(name) else "none"
        if actual != digest:
            print_warning(
                f"{out.path_of(name)} is not the file that was written and is made again: its "
                f"sha256 is {actual}, expected {digest}"
            )
            return False
    return True


def _write_parquet(
    out: Folder, part: Part, images: NDArray[np.uint8], z: NDArray[np.float32]
) -> dict[str, str]:
    """Write each sample's image (uint8 [C, H, W]), z (float32 [D]) and chain (its number)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    codes = pa.FixedSizeListArray.from_arrays(pa.array(z.reshape(-1)), z.shape[1])
    table = pa.table(
        {
            "image": to_tensor_array(images),
            "z": codes,
            "chain": pa.array(np.arange(part.first, part.last)),
        }
    )
    name = f"part-{part.number:05}.parquet"
    with out.open_to_write(name) as file:
        pq.write_table(table, file, compression="lz4", write_statistics=False)
    return {name: file.digest.hexdigest()}


def _write_png(
    out: Folder, part: Part, images: NDArray[np.uint8], z: NDArray[np.float32]
) -> dict[str, str]:
    """Write the image of each chain as NUMBER.png. PNG files hold no z."""
    files = {}
    for number, image in enumerate(images, part.first):
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        name = f"{number:09}.png"
        out.write(name, content.getvalue())
        files[name] = hashlib.sha256(content.getvalue()).hexdigest()
    return files


def _plan(job: SamplingJob, num_samples: int) -> dict[str, Any]:
    """Everything that decides the samples, as JSON values."""
    source, prior = job.source, job.source.fitted_prior
    prior_identity: dict[str, str] | None = None
    if prior is not None:
        prior_identity = {"law": type(prior).__name__}
        if isinstance(prior, nn.Module):
            prior_identity["sha256"] = checkpoint.weights_digest(prior)
    return {
        "samples": num_samples,
        "device": torch.device(source.device).type,
        "format": job.format,
        "model": source.description["model"],
        "weights": source.description["sha256"],
        "chain": config.to_dict(source.chain),
        "law": prior_identity,  # plans have had this key since version 0.1
        "genae": version("genae"),
    }


def _read_manifest(out: Folder) -> dict[str, Any] | None:
    """The manifest. None if there is none, or if it is damaged and must be made again."""
    name = next((name for name in (MANIFEST, FORMER_MANIFEST) if out.exists(name)), None)
    if name is None:
        return None
    try:
        manifest = sealed.from_text(out.read(name), out.path_of(name))
        for part in manifest["parts"]:
            require(isinstance(part["files"], dict), "a part lists its files", part=part)
        require(isinstance(manifest["plan"], dict), "a manifest holds the plan")
    except (ValueError, KeyError, TypeError) as error:
        print_warning(f"{out.path_of(name)} is made again: {error}")
        return None
    return manifest


def _claim(plan: dict[str, Any], out: Folder) -> None:
    """Write the plan. Raises ValueError if the folder holds another plan or other files."""
    name = next((name for name in (PLAN, FORMER_PLAN) if out.exists(name)), None)
    if name is not None:
        try:
            stored = sealed.from_text(out.read(name), out.path_of(name))
        except ValueError as error:
            raise ValueError(f"{error}; delete {out.uri}, or choose another folder") from None
        _check_same(stored, plan, out)
        if name == FORMER_PLAN:
            out.write(PLAN, out.read(name))
            out.delete(name)
        return
    empty = not out.exists() or not out.files()
    require(empty, "the folder for the samples must be empty; choose another one", out=out.uri)
    out.write(PLAN, sealed.to_text(plan).encode())


def _check_same(stored: dict[str, Any], plan: dict[str, Any], out: Folder) -> None:
    """Raise ValueError if the stored plan differs from this one."""
    difference = first_difference(config.canonicalize(stored), config.canonicalize(plan))
    if difference is not None:
        raise ValueError(f"{out.uri} holds other samples: {difference}; choose another folder")
