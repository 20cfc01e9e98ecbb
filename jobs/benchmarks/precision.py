"""The suite "precision": the FCDs of bf16 beside those of fp32, over several seeds.

If the hardware does not multiply in bfloat16, `Rounding` emulates its arithmetic in fp32.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from genae_core.data.base import load
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.experiment.precision import has_bf16
from genae_core.experiment.trial import run_trial
from genae_core.metrics.classifier_cache import cached_classifier, load_classifier
from genae_core.models.aae import AAEConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.base import ComputeConfig
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import DataOptions

from .rows import Row

RECIPE = dataset_recipe(DataOptions(dataset="digits"))
FAMILIES: dict[str, Any] = {
    "vae": VAEConfig(latent_dim=8, net=RECIPE.net),
    "dvae": VAEConfig(latent_dim=8, net=RECIPE.net, noise=0.5),
    "daae": AAEConfig(latent_dim=8, net=RECIPE.net, noise=0.5),
}
CHAIN = RECIPE.chain(sub_batch=100)
PRODUCTS = {F.linear, F.conv2d, F.conv_transpose2d}


def rows(repeats: int, device: str) -> list[Row]:
    """Measure precision_FAMILY_K, the mean FCD at step K on the digits, in bf16 and in fp32, over
    twice as many seeds as repeats."""
    splits, seeds = load(RECIPE.data), range(2 * repeats)
    native = has_bf16(device)
    with tempfile.TemporaryDirectory() as scratch:
        home, _ = cached_classifier(RECIPE.classifier, RECIPE.data, splits, Path(scratch))
        classifier = load_classifier(home).to(device)
    comparisons = []
    for name, model in FAMILIES.items():
        fcd: dict[str, list[list[float]]] = {"fp32": [], "bf16": []}
        for seed in seeds:
            for precision in ("fp32", "bf16"):
                experiment = Experiment(
                    data=RECIPE.data,
                    model=model,
                    training=RECIPE.training,
                    chains=(CHAIN,),
                    classifier=RECIPE.classifier,
                    seed=seed,
                    compute=ComputeConfig(precision=precision),
                )
                with emulate_bf16() if precision == "bf16" and not native else nullcontext():
                    result = run_trial(resolve(experiment, splits), splits, classifier, device)
                for error in result.failed.values():
                    raise error
                fcd[precision].append(result.chains[0].fcd)
        how = "" if native else ", emulated"
        comparisons += [
            row(f"precision_{name}_{step}", how, *([f[at] for f in fcd[p]] for p in fcd))
            for at, step in enumerate(CHAIN.record)
        ]
    return comparisons


def row(name: str, how: str, plain: list[float], lower: list[float]) -> Row:
    apart = [b - a for a, b in zip(plain, lower, strict=True)]
    error = statistics.stdev(apart) / len(apart) ** 0.5
    a, b = statistics.mean(plain), statistics.mean(lower)
    return Row(
        name=name,
        value=b,
        unit=f"FCD in bf16{how}; a seed's differs by {statistics.mean(apart):.2f} ± {error:.2f}",
        baseline=f"fp32, which varies by {statistics.stdev(plain):.2f} over {len(plain)} seeds",
        baseline_value=a,
        ratio=a / b,
    )


class Rounding(TorchFunctionMode):
    """Emulates bf16 in fp32: it rounds the factors of a product to bf16, sums in fp32, and rounds
    the result. Gradients pass the same roundings."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        if func in PRODUCTS:
            args = [round_to_bf16(arg) for arg in args]
            kwargs = {name: round_to_bf16(arg) for name, arg in kwargs.items()}
        result = func(*args, **kwargs)
        rounds = func in PRODUCTS or func is F.batch_norm
        return round_to_bf16(result) if rounds else result


def round_to_bf16(value: Any) -> Any:
    return value.bfloat16().float() if isinstance(value, Tensor) else value


@contextmanager
def emulate_bf16() -> Iterator[None]:
    """Emulate what autocast would compute in bf16."""
    with mock.patch.object(torch, "autocast", lambda *_: Rounding()):
        yield
