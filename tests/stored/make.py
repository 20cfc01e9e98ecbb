"""Make home.tar.xz, expected.json and configs.json with an older version of the code.

  git clone . /tmp/before && git -C /tmp/before checkout COMMIT
  PYTHONPATH=/tmp/before OMP_NUM_THREADS=1 python tests/stored/make.py /tmp/before

The module paths below are those of version 0.1.0 at that commit. This script is kept to show how
the files were made; the tests read the files and never run it.
"""

# ruff: noqa: I001  # the modules named below are of another version, which ruff does not see

import contextlib
import dataclasses
import hashlib
import importlib
import inspect
import io
import json
import os
import pkgutil
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
ROOT = Path("/tmp/genae-stored")
COPY = Path("/tmp/genae-stored-copy")
SCRATCH = Path("/tmp/genae-stored-scratch")
TIME = 1_577_836_800  # of every image file, seconds since 1970: the cache keys depend on it
IMAGES, PHOTOS, SAMPLES = 160, 12, 5_100
SHAPE = (1, 8, 8)

COMMON = (
    "--dataset image_folder --data-root images --net-width 1 --smoke --precision fp32 "
    "--seeds-together no --trials-in-parallel 1"
).split()
FINISHED = "--families vae wae_mmd --latent-dims 2 --epochs 3 --name finished".split()
CHAINS = (
    "--latent-dims 2 --models vae-2 --samplers refined --record 0 1 --epochs 3 --seeds 0 "
    "--name chains"
).split()
CUT = "--families vae --latent-dims 2 3 4 --epochs 20 --name cut".split()
SEARCH = "--families wae_mmd --epochs 20 --trials 3 --no-asha --name searched".split()
EACH_STEP = ("--checkpoint-seconds", "0")  # decides no result, so a resume need not repeat it
PREPARE = ("image_folder", "--raw", "photos", "--size", "32")


# Images.


def draw_images(folder: Path, count: int, side: int, classes: Sequence[str] = ("",)) -> None:
    """Discs and squares on a ground, which compress well; each class has a colour of its own."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    for number in range(count):
        kind = number % len(classes)
        ground, colour = np.full(3, 36 * rng.integers(0, 4)), np.full(3, 60)
        colour[kind % 3] = 200 + 10 * rng.integers(0, 5)
        y, x = rng.integers(side // 4, 3 * side // 4, 2)
        radius = rng.integers(side // 8, side // 3)
        away = np.maximum if kind > 2 else np.hypot
        inside = away(abs(rows - y), abs(columns - x)) < radius
        pixels = np.where(inside[..., None], colour, ground).astype(np.uint8)
        path = folder / classes[kind] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, optimize=True)
        os.utime(path, (TIME, TIME))


# Scripts, as a person runs them.


def environment(root: Path, home: str = "home") -> dict[str, str]:
    return {**os.environ, "GENAE_HOME": str(root / home), "OMP_NUM_THREADS": "1"}


def start(root: Path, script: str, *flags: str, home: str = "home") -> subprocess.Popen[str]:
    """The command line is logged as a tag, so the script's path is relative to the root."""
    return subprocess.Popen(
        [sys.executable, f"code/{script}", *flags],
        env=environment(root, home),
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(root: Path, script: str, *flags: str, home: str = "home", code: int = 0) -> str:
    print("$", script, *flags, flush=True)
    process = start(root, script, *flags, home=home)
    output, _ = process.communicate(timeout=600)
    print(output, flush=True)
    assert process.returncode == code, process.returncode
    return output


def descendants(pid: int) -> list[int]:
    """The processes below this one (Linux)."""
    pids = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                pids += [child, *descendants(child)]
    return pids


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the driver and all that it started, at once."""
    for pid in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def finished_runs(database: Path, sweep: str) -> int:
    query = (
        "SELECT COUNT(*) FROM runs JOIN tags ON runs.run_uuid = tags.run_uuid "
        "WHERE tags.key = 'sweep' AND tags.value = ? AND runs.status = 'FINISHED'"
    )
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute(query, (sweep,)).fetchone()[0])


def state_reached(folder: Path, least: int, but_not: set[str]) -> bool:
    for path in (folder / "states").glob("*/state-*/checkpoint.json"):
        if path.parts[-3] not in but_not and int(path.parts[-2][6:]) >= least:
            return True
    return False


def cut_sweep() -> None:
    """Kill the sweep where one cell is finished and logged, a second is finished and its journal
    waits on disk because the database is locked, and a third has kept states."""
    folder, database = ROOT / "home" / "sweeps" / "cut", ROOT / "home" / "mlflow.db"
    process = start(ROOT, "sweeps/latent_dim.py", *COMMON, *CUT, *EACH_STEP)
    wait_until(lambda: finished_runs(database, "cut") == 1, process)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        done = folder / "journals"
        wait_until(lambda: len(list(done.glob("*/done.json"))) == 2, process)
        keys = {path.parent.name for path in done.glob("*/done.json")}
        wait_until(lambda: state_reached(folder, 20, keys), process)
        kill(process)
        lock.execute("ROLLBACK")


def cut_search() -> None:
    """Kill the search in its second trial of three."""
    folder, database = ROOT / "home" / "sweeps" / "searched", ROOT / "home" / "mlflow.db"
    process = start(ROOT, "sweeps/search.py", *COMMON, *SEARCH, *EACH_STEP)
    wait_until(lambda: finished_runs(database, "searched") == 1, process)
    done = {path.parent.name for path in (folder / "journals").glob("*/done.json")}
    wait_until(lambda: state_reached(folder, 20, done), process)
    kill(process)


def lighten() -> None:
    """Make every picture grey but the pages' sprites, and leave the pages out: they are most of
    the size, and no test reads them."""
    import numpy as np
    from PIL import Image

    for path in (ROOT / "home").rglob("*"):
        if path.suffix in (".png", ".webp"):
            size = Image.open(path).size
            Image.new("RGB", size, (128, 128, 128)).save(path)
        elif path.name == "picture.npy":
            np.save(path, np.full_like(np.load(path), 128))
        elif path.name == "explorer.html":
            path.unlink()


# What a test compares.


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def without_seal(content: bytes) -> bytes:
    """A file as version 0.1 wrote it."""
    if b'"seal": ' not in content:
        return content
    values = json.loads(content)
    del values["seal"]
    return json.dumps(values, indent=1 if content.startswith(b"{\n") else None).encode()


def artifacts_of(folder: Path) -> dict[str, str]:
    """sha256 of a run's artifacts, by name, without the seals that version 0.1 did not write."""
    return {
        str(path.relative_to(folder)): digest_of(without_seal(path.read_bytes()))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "images"  # their names hold an id
    }


def runs_of(root: Path, sweep: str) -> dict[str, dict[str, Any]]:
    """The sweep's runs by key; what differs from time to time is left out. Of the losses and the
    params, which are long, only a digest is kept."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{root}/home/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs: dict[str, dict[str, Any]] = {}
    for run in client.search_runs(experiments, f"tags.sweep = '{sweep}'"):
        metrics = {}
        for name in sorted(run.data.metrics):
            if "seconds" not in name:
                history = client.get_metric_history(run.info.run_id, name)
                metrics[name] = sorted([m.step, m.value] for m in history)
        losses = {name: rows for name, rows in metrics.items() if name.startswith("train/")}
        names = ("cell", "chain", "seed", "stage", "family", "latent_dim", "model_run")
        names += ("data_sha256", "classifier_sha256", "classifier_recipe")
        assert run.data.tags["key"] not in runs, "one run a key"
        runs[run.data.tags["key"]] = {
            "run_id": run.info.run_id,
            "status": run.info.status,
            "tags": {name: run.data.tags[name] for name in names},
            "params": digest_of(json.dumps(run.data.params, sort_keys=True).encode()),
            "losses": digest_of(json.dumps(losses, sort_keys=True).encode()),
            "metrics": {name: metrics[name] for name in metrics if name not in losses},
            "artifacts": artifacts_of(Path(run.info.artifact_uri.removeprefix("file://"))),
        }
    return dict(sorted(runs.items()))


def samples_of(folder: Path) -> dict[str, str]:
    """sha256 over the pixels and over the codes of all parts, in order."""
    import numpy as np
    import pyarrow.parquet as pq

    images, codes = hashlib.sha256(), hashlib.sha256()
    for path in sorted(folder.glob("part-*.parquet")):
        table = pq.read_table(path)
        pixels = table.column("image").combine_chunks().to_numpy_ndarray()
        images.update(np.ascontiguousarray(pixels).tobytes())
        codes.update(np.array(table.column("z").to_pylist(), np.float32).tobytes())
    return {"images": images.hexdigest(), "z": codes.hexdigest()}


def arithmetic() -> str:
    """sha256 of what torch alone makes of a short training: where another machine's processor
    rounds otherwise, it differs, and bits of other trainings need not be the same either."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ELU(), nn.Flatten(), nn.Linear(2048, 5)
        )
        adam = torch.optim.Adam(net.parameters(), fused=True)
        for _ in range(10):
            adam.zero_grad()
            net(torch.rand(16, 3, 32, 32)).square().sum().backward()
            adam.step()
    weights = b"".join(tensor.numpy().tobytes() for tensor in net.state_dict().values())
    return digest_of(weights)


# Every config of the package.


NOT_WALKED = {"launch", "tuning", "tracking", "delivery", "meters", "cluster", "cell", "runs"}
NOT_WALKED |= {"report", "sweep_folder", "sweeping", "options"}


def config_classes() -> list[type]:
    """Every frozen, keyword-only dataclass of the package that can be made."""
    package = importlib.import_module("genae_core")
    classes = []
    for module in pkgutil.walk_packages(package.__path__, "genae_core."):
        if module.name.split(".")[1] in NOT_WALKED:
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if (
                isinstance(value, type)
                and dataclasses.is_dataclass(value)
                and value.__module__ == module.name
                and not inspect.isabstract(value)
                and value.__dataclass_params__.frozen  # type: ignore[attr-defined]
                and all(field.kw_only for field in dataclasses.fields(value))
            ):
                classes.append(value)
    return classes


def value_of(hint: Any) -> Any:
    """Some value of the annotated type."""
    from genae_core.data.base import DataConfig
    from genae_core.data.digits import DigitsConfig
    from genae_core.models.base import ModelConfig
    from genae_core.models.vae import VAEConfig
    from genae_core.nets.base import NetConfig
    from genae_core.nets.mlp import MLPConfig
    from genae_core.priors.base import PriorConfig
    from genae_core.priors.ex_post import ExPostMixture
    from genae_core.priors.normal import NormalPriorConfig
    from genae_core.samplers.base import LawConfig, Sampler
    from genae_core.samplers.encode_decode import EncodeDecode

    values: dict[Any, Any] = {
        int: 3,
        float: 0.25,
        str: "somewhere",
        bool: True,
        DataConfig: DigitsConfig(binarize=True),
        ModelConfig: VAEConfig(latent_dim=3),
        NetConfig: MLPConfig(widths=(7, 5)),
        PriorConfig: NormalPriorConfig(),
        Sampler: EncodeDecode(corrupt=False, decode="sample"),
        LawConfig: ExPostMixture(components=3),
    }
    if hint in values:
        return values[hint]
    if dataclasses.is_dataclass(hint):
        return filled(typing.cast(type, hint))
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return inner[-1]
    if origin is tuple:
        return (value_of(inner[0]),)
    if origin in (typing.Union, types.UnionType):
        return value_of(inner[0])
    raise AssertionError(f"add a value for {hint}")


def filled(kind: type, every: bool = False) -> Any:
    """The config with its required fields, or with as many fields as it accepts."""
    hints = typing.get_type_hints(kind)
    fields: Any = dataclasses.fields(kind)  # type: ignore[arg-type]
    required = {
        f.name: value_of(hints[f.name])
        for f in fields
        if f.default is f.default_factory is dataclasses.MISSING
    }
    config: Any = kind(**required)
    for field in fields if every else ():
        with contextlib.suppress(ValueError, AssertionError):
            config = dataclasses.replace(config, **{field.name: value_of(hints[field.name])})
    return config


def models() -> dict[str, Any]:
    """The smallest model of every family, with every prior and every divergence in one of them."""
    from genae_core.likelihoods import GaussianPixels

    from genae_core.divergences.f_divergence import FDivergence
    from genae_core.divergences.least_squares import LeastSquares
    from genae_core.divergences.mmd import MMD
    from genae_core.divergences.wasserstein import Wasserstein
    from genae_core.models.aae import AAEConfig
    from genae_core.models.adv_ae import AdvAEConfig
    from genae_core.models.ae import AEConfig
    from genae_core.models.cluster_aae import ClusterAAEConfig
    from genae_core.models.ex_post_ae import ExPostAEConfig
    from genae_core.models.flow_ae import FlowAEConfig
    from genae_core.models.gmmn_ae import GMMNAEConfig
    from genae_core.models.style_aae import StyleAAEConfig
    from genae_core.models.vae import VAEConfig
    from genae_core.models.wae import WAEConfig
    from genae_core.nets.mlp import CriticConfig, GeneratorConfig, MLPConfig
    from genae_core.priors.flow import FlowConfig, FlowPriorConfig
    from genae_core.priors.mixture import RingPriorConfig
    from genae_core.priors.swiss_roll import SwissRollPriorConfig
    from genae_core.priors.uniform import UniformPriorConfig
    from genae_core.priors.vamp import VampPriorConfig

    net, critic = MLPConfig(widths=(4,)), CriticConfig(widths=(4,))
    still = CriticConfig(widths=(4,), dropout=0.0)
    small: dict[str, Any] = {"latent_dim": 2, "net": net}
    code, generator = AEConfig(**small), GeneratorConfig(widths=(4,))

    def flow(kind: Any) -> FlowConfig:
        return FlowConfig(kind=kind, transforms=2, widths=(4,))

    made = {
        "vae": VAEConfig(**small),
        "dvae": VAEConfig(**small, noise=0.3, beta=0.5),
        "vae-ring": VAEConfig(**small, prior=RingPriorConfig()),
        "vae-vamp": VAEConfig(**small, prior=VampPriorConfig(components=3)),
        "vae-gaussian": VAEConfig(**small, likelihood=GaussianPixels()),
        "aae": AAEConfig(**small, critic=critic),
        "daae-uniform": AAEConfig(
            **small, noise=0.3, critic=critic, prior=UniformPriorConfig(), posterior="gaussian"
        ),
        "aae-swiss-roll": AAEConfig(
            **small, critic=critic, prior=SwissRollPriorConfig(), divergence=LeastSquares()
        ),
        "aae-universal": AAEConfig(
            **small, critic=still, posterior="universal", divergence=Wasserstein()
        ),
        "wae-mmd": WAEConfig(**small, divergence=MMD()),
        "wae-gan": WAEConfig(**small, divergence=FDivergence(), critic=critic),
        "adv-ae": AdvAEConfig(autoencoder=code, generator=generator, critic=still),
        "gmmn-ae": GMMNAEConfig(autoencoder=code, generator=generator),
        "ex-post-ae": ExPostAEConfig(autoencoder=code, components=2),
        "style-aae": StyleAAEConfig(style_dim=2, num_classes=10, net=net, critic=critic),
        "cluster-aae": ClusterAAEConfig(style_dim=2, clusters=3, net=net, critic=critic),
        "cluster-head-aae": ClusterAAEConfig(
            style_dim=2, clusters=3, code="head", net=net, critic=critic
        ),
    }
    for kind in ("realnvp", "spline", "maf", "planar", "radial"):
        made[f"flow-ae-{kind}"] = FlowAEConfig(autoencoder=code, flow=flow(kind))
    for kind in ("realnvp", "planar"):
        made[f"vae-flow-{kind}"] = VAEConfig(**small, prior=FlowPriorConfig(flow=flow(kind)))
    return made


def experiments() -> dict[str, Any]:
    """An experiment with each family, dataset, sampler, law and way of computing."""
    from genae_core.data.celeba import CelebAConfig
    from genae_core.data.digits import DigitsConfig
    from genae_core.data.image_folder import ImageFolderConfig
    from genae_core.data.mnist import MNISTConfig
    from genae_core.data.svhn import SVHNConfig
    from genae_core.experiment import Experiment
    from genae_core.metrics.classifier import ClassifierConfig
    from genae_core.models.vae import VAEConfig
    from genae_core.nets.base import ComputeConfig
    from genae_core.nets.dcgan import DCGANConfig
    from genae_core.nets.mlp import MLPConfig
    from genae_core.priors.ex_post import ExPostMixture
    from genae_core.samplers.ancestral import Ancestral
    from genae_core.samplers.base import ChainConfig
    from genae_core.samplers.encode_decode import EncodeDecode
    from genae_core.samplers.langevin import Langevin
    from genae_core.samplers.metropolis import Metropolis
    from genae_core.samplers.reconstruction import Reconstruction
    from genae_core.training import TrainingConfig

    chain = ChainConfig(sampler=EncodeDecode())
    training = TrainingConfig(epochs=2, batch_size=50)
    usual: dict[str, Any] = {"data": DigitsConfig(), "training": training, "chains": (chain,)}
    vae = VAEConfig(latent_dim=2, net=MLPConfig(widths=(4,)))
    dcgan = VAEConfig(latent_dim=2, net=DCGANConfig(width=1))
    made = {f"model {name}": Experiment(**usual, model=model) for name, model in models().items()}
    for name, data, model in (
        ("mnist", MNISTConfig(root="data"), vae),
        ("svhn", SVHNConfig(root="data", size=32, extra=True), dcgan),
        ("celeba", CelebAConfig(root="data", size=64), dcgan),
        ("image_folder", ImageFolderConfig(root="data", size=32, max_images=9), dcgan),
        ("binarised digits", DigitsConfig(binarize=True), vae),
    ):
        made[f"data {name}"] = Experiment(**(usual | {"data": data}), model=model)
    chains = (
        chain,
        ChainConfig(sampler=EncodeDecode(corrupt=False, decode="sample"), seed=3),
        ChainConfig(sampler=EncodeDecode(), batch_norm="running", record=(0, 4), num_chains=8),
        ChainConfig(sampler=EncodeDecode(), law=ExPostMixture(components=2), sub_batch=7),
        ChainConfig(sampler=Ancestral()),
        ChainConfig(sampler=Reconstruction()),
        ChainConfig(sampler=Langevin(moves=2), law=ExPostMixture(), batch_norm="running"),
        ChainConfig(sampler=Metropolis(), batch_norm="running"),
    )
    made["chains"] = Experiment(**(usual | {"chains": chains}), model=vae, seed=5)
    for name, compute in (
        ("plain", ComputeConfig()),
        ("graphs", ComputeConfig(cuda_graphs=True)),
        ("bf16", ComputeConfig(precision="bf16", cuda_graphs=True)),
        ("channels last", ComputeConfig(channels_last=True)),
    ):
        made[f"compute {name}"] = Experiment(**usual, model=vae, compute=compute)
    made["classifier"] = Experiment(
        **usual,
        model=vae,
        classifier=ClassifierConfig(channels=(4,), kernel_size=5, dropout=0.1, feature_width=6),
    )
    return made


def all_configs() -> dict[str, Any]:
    """The texts, and the keys that are computed from them."""
    from genae_core.runs import chain_label, run_key

    from genae_core import config
    from genae_core.data.shards import preprocessing_of
    from genae_core.metrics.classifier import recipe_key

    texts = {}
    for kind in config_classes():
        plain, full = filled(kind), filled(kind, every=True)
        texts[f"{kind.__module__}.{kind.__qualname__}"] = [
            config.to_dict(plain),
            config.to_dict(full),
        ]
    keyed = {}
    for name, experiment in experiments().items():
        keyed[name] = {
            "config": config.to_dict(experiment),
            "params": digest_of(json.dumps(config.flatten(experiment)).encode()),
            "run keys": {
                chain_label(chain): run_key("a sweep", experiment, chain)
                for chain in experiment.chains
            },
            "recipe key": recipe_key(experiment.classifier, "0123abcd", experiment.data.binarize),
            "preprocessing": preprocessing_of(experiment.data),
        }
    return {"configs": texts, "experiments": keyed}


# Checkpoints, and states of trainings.


def trained(model_config: Any, epochs: int, keeper: Any = None) -> tuple[Any, Any, Any]:
    """The model of seed 0 after so many epochs of the first 100 digits, its stream and curve."""
    from genae_core.data.batches import Batches
    from genae_core.draw import Draw

    from genae_core.data.base import load
    from genae_core.data.digits import DigitsConfig
    from genae_core.training import TrainingConfig, fit

    splits = load(DigitsConfig())
    draw = Draw(0, "training")
    with draw.as_global():
        model = model_config.build(SHAPE)
    examples = Batches(splits.train, 100, False, draw.device).examples()
    training = TrainingConfig(epochs=epochs, batch_size=25, decay="linear")
    history = fit(model, model.stages(), examples, training, draw, keeper=keeper).history
    return model, draw, [[point.step, point.terms] for point in history]


def checkpoints(folder: Path) -> dict[str, Any]:
    """Every family after one epoch of four steps, as `save_model` writes it, and its samples."""
    from genae_core.checkpoint import save_model, weights_digest

    expected = {}
    for name, model_config in models().items():
        model, draw, history = trained(model_config, 1)
        save_model(folder / name, model, model_config, SHAPE, draw)
        out = SCRATCH / "samples" / name
        flags = ("--num-samples", "30", "--steps", "2", "--batch-norm", "running")
        sample(f"checkpoints/{name}", "--out", str(out), *flags)
        expected[name] = {
            "weights": weights_digest(model),
            "history": history,
            "samples": samples_of(out),
        }
    return expected


class Stopped(Exception):
    pass


def states(folder: Path) -> dict[str, Any]:
    """A training of three epochs, stopped after its seventh step of twelve with the keeper of a
    sweep, and what it ends with when it is not stopped."""
    from genae_core.checkpoint import weights_digest
    from genae_core.keeping import Generations

    class Keeper(Generations):
        def due(self) -> bool:
            self.steps = getattr(self, "steps", 0) + 1
            return self.steps == 7

        def keep(self, state: Any) -> None:
            super().keep(state)
            raise Stopped

    expected = {}
    every = models()
    for name in ("vae", "aae", "wae-gan", "adv-ae", "flow-ae-realnvp", "ex-post-ae"):
        with contextlib.suppress(Stopped):
            trained(every[name], 3, Keeper(folder / name))
        model, _, history = trained(every[name], 3)
        expected[name] = {"step": 7, "weights": weights_digest(model), "history": history}
    return expected


# Samples of jobs/sample.py, in this process.


def sample(source: str, *flags: str) -> None:
    module = script("jobs/sample.py")
    tyro = importlib.import_module("tyro")
    with contextlib.redirect_stdout(io.StringIO()):
        assert module.main(tyro.cli(module.Options, args=[source, *flags])) == 0


def script(path: str) -> Any:
    place = ROOT / "code" / path
    if str(place.parent) not in sys.path:
        sys.path.insert(0, str(place.parent))
    return importlib.import_module(place.stem)


def grey_checkpoint(folder: Path) -> None:
    """A model of large images that are all of one grey, so that a part of many compresses."""
    import torch
    from genae_core.checkpoint import save_model
    from genae_core.draw import Draw

    from genae_core.models.vae import VAEConfig
    from genae_core.nets.mlp import MLPConfig

    shape = (3, 64, 64)
    model_config = VAEConfig(latent_dim=1, net=MLPConfig(widths=(1,), batch_norm=False))
    with Draw(0).as_global():
        model = model_config.build(shape)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.numel() >= shape[1] * shape[2]:
                parameter.fill_(0.001 if "encoder" in name else 0.0)
    save_model(folder, model, model_config, shape, Draw(0))


def cut_samples() -> dict[str, Any]:
    """The output of jobs/sample.py with the first of two parts finished; the manifest of all."""
    from genae_core.data.folder import Folder
    from genae_core.sampling import Job, Part, draw_samples, job_of, make, started

    from genae_core.samplers.base import ChainConfig
    from genae_core.samplers.encode_decode import EncodeDecode

    def job(out: Path) -> Job:
        chain = ChainConfig(sampler=EncodeDecode())
        return job_of(ROOT / "grey", chain, 1, Folder(out))

    def first_alone(job: Job, parts: Sequence[Part]) -> Iterator[int]:
        yield make(started(job), parts[0])
        raise Stopped

    manifest = draw_samples(job(SCRATCH / "grey-samples"), SAMPLES)
    assert len(manifest["parts"]) == 2
    with contextlib.suppress(Stopped):
        draw_samples(job(ROOT / "samples-cut"), SAMPLES, first_alone)
    return manifest


def prepared_shards() -> dict[str, str]:
    """Finished shards, the same unfinished, and sha256 of every finished file."""
    run(ROOT, "jobs/prepare_data.py", *PREPARE, "--out", "shards")
    in_the_way = ROOT / "shards-cut.partial" / "test-00000.parquet"
    in_the_way.mkdir(parents=True)
    run(ROOT, "jobs/prepare_data.py", *PREPARE, "--out", "shards-cut", code=2)
    in_the_way.rmdir()
    names = sorted(path.name for path in (ROOT / "shards").iterdir())
    return {name: digest_of((ROOT / "shards" / name).read_bytes()) for name in names}


# All of it.


def write_lines(path: Path, sections: dict[str, Any]) -> None:
    """A JSON object with a line for each entry of each section."""
    lines = []
    for name, section in sections.items():
        if not isinstance(section, dict):
            lines.append(f"{json.dumps(name)}: {json.dumps(section)}")
            continue
        inner = ",\n".join(f" {json.dumps(key)}: {json.dumps(section[key])}" for key in section)
        lines.append(f"{json.dumps(name)}: {{\n{inner}\n}}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def pack(archive: Path) -> None:
    """The tree without what is made anew: the node's copy of the shards, Tune's own files."""

    def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(member.name).parts
        if parts[:1] == ("code",) or parts[:2] == ("home", "cache"):
            return None
        if any(part.startswith("tune-") for part in parts) or parts[-1].endswith(".lock"):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    with tarfile.open(archive, "w:xz", preset=9) as file:
        for path in sorted(ROOT.iterdir()):
            file.add(path, path.name, filter=kept)


def copied() -> None:
    """The tree at another place, where it can be gone on with."""
    from unpack import relocate

    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(ROOT, COPY, symlinks=True)
    relocate(COPY)


def main(code: Path) -> None:
    commit = subprocess.run(
        ["git", "-C", str(code), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    where = Path(str(importlib.import_module("genae_core").__file__)).resolve()
    assert where.is_relative_to(code.resolve()), f"set PYTHONPATH={code}: {where}"
    for folder in (ROOT, COPY, SCRATCH):
        shutil.rmtree(folder, ignore_errors=True)
    (ROOT / "home").mkdir(parents=True)
    (ROOT / "code").symlink_to(code)
    os.chdir(ROOT)
    os.environ["GENAE_HOME"] = str(ROOT / "home")
    importlib.import_module("torch").set_num_threads(1)
    draw_images(ROOT / "images", IMAGES, 64, ("blue", "green", "red", "square"))
    draw_images(ROOT / "photos", PHOTOS, 48)

    expected: dict[str, Any] = {"version": "0.1.0", "commit": commit}
    expected["arithmetic"] = arithmetic()
    write_lines(HERE / "configs.json", all_configs())
    expected["checkpoints"] = checkpoints(ROOT / "checkpoints")
    expected["states"] = states(ROOT / "states")
    grey_checkpoint(ROOT / "grey")
    expected["samples-cut"] = cut_samples()
    expected["shards"] = prepared_shards()

    run(ROOT, "sweeps/latent_dim.py", *COMMON, *FINISHED)
    run(ROOT, "sweeps/mcmc_steps.py", *COMMON, *CHAINS)
    cut_sweep()
    cut_search()
    flags = ("--num-samples", "60", "--steps", "0", "2")
    run(ROOT, "jobs/evaluate.py", "checkpoints/vae", *flags, "--out", str(SCRATCH / "vae.json"))
    expected["evaluated"] = {"checkpoints/vae": json.loads((SCRATCH / "vae.json").read_text())}

    lighten()
    expected["runs"] = {
        name: runs_of(ROOT, name) for name in ("finished", "chains", "cut", "searched")
    }
    expected["run samples"] = {}
    for name in ("finished", "chains"):
        for key, about in expected["runs"][name].items():
            out = SCRATCH / "samples" / key
            sample(about["run_id"], "--num-samples", "30", "--steps", "2", "--out", str(out))
            expected["run samples"][about["run_id"]] = samples_of(out)
    one = next(iter(expected["runs"]["finished"].values()))["run_id"]
    out = SCRATCH / "run.json"
    run(ROOT, "jobs/evaluate.py", one, "--num-samples", "60", "--out", str(out))
    expected["evaluated"][one] = json.loads(out.read_text())

    copied()
    whole = run(ROOT, "sweeps/latent_dim.py", *COMMON, *CUT, home="../genae-stored-scratch/whole")
    assert "went on" not in whole
    resumed = run(COPY, "sweeps/latent_dim.py", *COMMON, *CUT, "--resume")
    searched = run(COPY, "sweeps/search.py", *COMMON, *SEARCH, "--resume")
    expected["resumed"] = {name: runs_of(COPY, name) for name in ("cut", "searched")}
    expected["went on"] = {
        name: int(text.split("it went on from step ")[1].split()[0].rstrip("."))
        for name, text in (("cut", resumed), ("searched", searched))
    }
    expected["folders"] = {
        name: sorted(p.name for p in (COPY / "home" / name).iterdir() if p.name[0] != ".")
        for name in ("shards", "classifiers")
    }
    pack(HERE / "home.tar.xz")
    write_lines(HERE / "expected.json", expected)
    for path in sorted(HERE.iterdir()):
        print(f"{path.stat().st_size:>9,} {path.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
