"""Features of pretrained networks, with random weights: against the libraries' networks, and the
distance against numpy and scipy.
"""

import dataclasses
import importlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from genae_core.data.torchvision_import import torchvision_datasets
from genae_core.distributions.rng import Draw
from genae_core.evaluation.chain_parts import PortableChain
from genae_core.evaluation.references import ReferenceData
from genae_core.evaluation.streaming import measure
from genae_core.metrics import pretrained_nets
from genae_core.metrics.classifier_features import seeded_indices
from genae_core.metrics.pretrained import (
    DistanceName,
    Pretrained,
    load_pretrained,
)
from genae_core.metrics.pretrained_nets import resample_positions
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain
from genae_core.testing import tiny
from genae_core.training import checkpoint


def library(name: str) -> Any:
    torchvision_datasets()
    return importlib.import_module(name)


@pytest.fixture
def small_vit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A transformer of DINOv2's form with one block, which stands for the small one."""
    timm = library("timm")

    def create(name: str, **settings: Any) -> Any:
        assert name == "vit_small_patch14_dinov2" and not settings.pop("pretrained")
        sizes = {"patch_size": 14, "embed_dim": 384, "depth": 1, "num_heads": 6}
        return timm.models.VisionTransformer(**settings, **sizes, init_values=0.1).eval()

    monkeypatch.setattr(timm, "create_model", create)
    with Draw(0).as_global():
        return create("vit_small_patch14_dinov2", pretrained=False, img_size=224, num_classes=0)


def grey_levels(shape: tuple[int, ...]) -> Tensor:
    """Random images whose values are k / 255."""
    return (Draw(1).uniform(shape) * 255).round() / 255


@pytest.mark.slow
def test_dinov2_gives_the_class_token_of_the_library(small_vit: Any, tmp_path: Path) -> None:
    save_file(small_vit.state_dict(), tmp_path / "vit.safetensors")
    loaded = load_pretrained("dinov2", tmp_path / "vit.safetensors")
    x = grey_levels((3, 1, 28, 28))
    resized = []
    for image in (x[:, 0] * 255).byte().numpy():
        rgb = Image.fromarray(image).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        resized.append(torch.from_numpy(np.array(rgb)).permute(2, 0, 1) / 255)
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (torch.stack(resized) - mean.view(3, 1, 1)) / sd.view(3, 1, 1)
    with torch.no_grad():
        expected = small_vit.forward_features(pixels)[:, 0]
    assert loaded.extractor.num_features == expected.shape[1] == 384
    features = loaded.extractor.features(x)
    # Pillow rounds after rows and after columns; this resize once.
    assert torch.allclose(features, expected, atol=0.03)
    assert float(features.std()) > 0.3


def test_positions_are_resampled_as_dinov2_does() -> None:
    positions = Draw(0).normal((1, 1 + 37 * 37, 5))
    resampled = resample_positions(positions)
    assert resampled.shape == (1, 257, 5) and torch.equal(resampled[:, 0], positions[:, 0])
    # The centre of the patch (i, j) is at ((i + 0.5) * 37 / 16.1 - 0.5) on the finer grid. The
    # cubic kernel with a = -0.75 over four neighbours, each at least 0 and at most 36.
    grid = positions[0, 1:].reshape(37, 37, 5).double().numpy()

    def weights(place: float) -> tuple[list[int], list[float]]:
        first = int(np.floor(place)) - 1
        taps = []
        for index in range(first, first + 4):
            t, a = abs(place - index), -0.75
            near = (a + 2) * t**3 - (a + 3) * t**2 + 1
            far = a * (t**3 - 5 * t**2 + 8 * t - 4)
            taps.append(near if t <= 1 else far)
        return [min(max(index, 0), 36) for index in range(first, first + 4)], taps

    for i, j in ((0, 0), (7, 3), (15, 15)):
        rows, down = weights((i + 0.5) * 37 / 16.1 - 0.5)
        columns, across = weights((j + 0.5) * 37 / 16.1 - 0.5)
        patch = np.einsum("r,c,rcf->f", down, across, grid[np.ix_(rows, columns)])
        assert resampled[0, 1 + 16 * i + j].numpy() == pytest.approx(patch, abs=1e-4)


@pytest.mark.slow
def test_the_weights_of_meta_are_read_as_those_of_timm(small_vit: Any, tmp_path: Path) -> None:
    """Their file has a token of masks too."""
    weights = {**small_vit.state_dict(), "mask_token": torch.zeros(1, 384)}
    save_file(weights, tmp_path / "meta.safetensors")
    save_file(small_vit.state_dict(), tmp_path / "vit.safetensors")
    x = grey_levels((2, 3, 8, 8))
    features = [
        load_pretrained("dinov2", tmp_path / name).extractor.features(x)
        for name in ("meta.safetensors", "vit.safetensors")
    ]
    assert torch.equal(*features)


@pytest.mark.slow
def test_a_copy_is_the_same_network(small_vit: Any, tmp_path: Path) -> None:
    save_file(small_vit.state_dict(), tmp_path / "vit.safetensors")
    extractor = load_pretrained("dinov2", tmp_path / "vit.safetensors").extractor
    x = grey_levels((2, 1, 8, 8))
    copy = pickle.loads(pickle.dumps(extractor))
    assert torch.equal(copy.features(x), extractor.features(x))


class Pooled(nn.Module):
    """A random network with seven features, in the place of a large one."""

    names = DistanceName("fd_dinov2", "FD-DINOv2")
    num_features = 7

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", Draw(3).normal((64, 7)))

    def features(self, x: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1) @ self.weight)  # type: ignore[operator]


def test_the_distance_is_that_of_numpy_and_scipy(tmp_path: Path) -> None:
    extractor: Any = Pooled()
    splits = tiny.splits()
    config = tiny.experiment().model
    with Draw(0).as_global():
        model = config.build((1, 8, 8))
    checkpoint.save_model(tmp_path / "model", model, config, (1, 8, 8), Draw(0))
    chain = ChainConfig(sampler=EncodeDecode(), record=(0, 1), sub_batch=12, batch_norm="running")
    source = PortableChain(*checkpoint.read(tmp_path / "model"), chain)
    data = ReferenceData(splits, tiny.classifier(splits))
    plain = measure(source, data, 60)
    report = measure(source, dataclasses.replace(data, pretrained=(extractor,)), 60)
    test, train = (
        extractor.features(data.pixels(split, seeded_indices(len(split.images), 40)))
        for split in (splits.test, splits.train)
    )
    assert report.distance_floors["fd_dinov2"] == pytest.approx(frechet(train, test), rel=1e-6)
    for at, without in zip(report.steps, plain.steps, strict=True):
        images = [r.chain.mean for r in run_chain(model, chain, 60) if r.step == at.step]
        expected = frechet(extractor.features(torch.cat(images)), test)
        value, error = at.distances["fd_dinov2"]
        assert value == pytest.approx(expected, rel=1e-6) and 0 < error < value
        assert at._replace(distances={}) == without and without.distances == {}


def frechet(a: Tensor, b: Tensor) -> float:
    """The distance with numpy's covariances and scipy's root of a matrix."""
    x, y = a.double().numpy(), b.double().numpy()
    p, q = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(p @ q)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(p + q - 2 * root.real))


@pytest.mark.slow
def test_inception_gives_the_pooled_features_of_the_library(tmp_path: Path) -> None:
    fidelity = library("torch_fidelity")
    with pytest.MonkeyPatch.context() as patch, Draw(0).as_global():
        patch.setattr(torch, "load", lambda *_, **__: None)
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_: None)
        net = fidelity.FeatureExtractorInceptionV3(
            "inception", ["2048"], feature_extractor_weights_path="random"
        )
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    net.train()((grey_levels((4, 3, 28, 28)) * 255).round().byte())
    net.eval()  # with statistics that let the pixels through
    save_file(net.state_dict(), tmp_path / "inception.safetensors")
    extractor = load_pretrained("inception", tmp_path / "inception.safetensors").extractor
    x = grey_levels((2, 1, 28, 28))
    expected = net((x * 255).round().byte().repeat(1, 3, 1, 1))[0]
    features = extractor.features(x)
    assert features.shape == (2, 2048) == (2, extractor.num_features)
    assert torch.equal(features, expected) and float(features.std(0).max()) > 0.1
    with pytest.raises(ValueError, match=r"does not hold the weights of DINOv2's ViT-S/14"):
        load_pretrained("dinov2", tmp_path / "inception.safetensors")
    save_file(net.fc.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="of torch-fidelity's InceptionV3: .* Missing key"):
        load_pretrained("inception", tmp_path / "other.safetensors")


@pytest.mark.slow
def test_files_that_hold_no_weights_are_refused(small_vit: Any, tmp_path: Path) -> None:
    def refused(name: str, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            load_pretrained("dinov2", tmp_path / name)

    refused("none.safetensors", "--weights: there is no such file, got weights=.*none")
    save_file(small_vit.state_dict(), tmp_path / "whole.safetensors")
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    refused("cut.safetensors", r"is damaged, or no .safetensors file \(SafetensorError")
    torch.save(small_vit.state_dict(), tmp_path / "pickled.pth")
    refused("pickled.pth", "is damaged, or no .safetensors file")
    shallow = {name: x for name, x in small_vit.state_dict().items() if "blocks" not in name}
    save_file(shallow, tmp_path / "shallow.safetensors")
    refused("shallow.safetensors", "does not hold the weights of DINOv2's .*Missing key")


def test_a_missing_package_has_the_line_of_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named '{name.split('.')[0]}'")

    monkeypatch.setattr(pretrained_nets.importlib, "import_module", missing)
    monkeypatch.setattr(pretrained_nets, "torchvision_datasets", lambda: None)
    for kind, name in (("inception", "torch_fidelity"), ("dinov2", "timm")):
        with pytest.raises(ValueError, match=rf"{name}.*pip install 'genae\[features\]'"):
            Pretrained(kind, {}, "weights.pth")  # type: ignore[arg-type]
