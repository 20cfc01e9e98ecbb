"""The networks behind the FID and the FD-DINOv2, with the weights of a user's file.

Shapes: B batch, H rows, W columns, F features. Their inputs are pixels [B, 3, H, W] in 0..255.
"""

import importlib
from collections import OrderedDict
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import require
from genae_core.data.torchvision_import import torchvision_datasets

Kind = Literal["inception", "dinov2"]
Weights = dict[str, Tensor]


class Inception(nn.Module):
    """InceptionV3 with the weights of TensorFlow's FID, whose pooled features are 2048.

    It resizes to 299 x 299 as TensorFlow 1 does (bilinear, without antialiasing) and scales
    pixels to (x - 128) / 128.
    """

    SIDE, num_features = 299, 2048

    def __init__(self, weights: Weights, where: str) -> None:
        super().__init__()
        # The library's own class only reads a pickle, or downloads one. Its blocks need neither.
        blocks = _import_library("torch_fidelity.feature_extractor_inceptionv3")
        self.resize = blocks.interpolate_bilinear_2d_like_tensorflow1x
        self.net = nn.Sequential(_inception_blocks(blocks))
        known = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
        try:
            self.net.load_state_dict(known)
        except RuntimeError as error:
            raise ValueError(_misfit(where, "torch-fidelity's InceptionV3", error)) from None

    def forward(self, pixels: Tensor) -> Tensor:
        resized = self.resize(pixels, size=(self.SIDE, self.SIDE), align_corners=False)
        features: Tensor = self.net((resized - 128) / 128)
        return features


def _inception_blocks(blocks: Any) -> "OrderedDict[str, nn.Module]":
    """The blocks from the pixels to the pooled features, by the names that the weights have."""
    conv = blocks.BasicConv2d
    return OrderedDict(
        Conv2d_1a_3x3=conv(3, 32, kernel_size=3, stride=2),
        Conv2d_2a_3x3=conv(32, 32, kernel_size=3),
        Conv2d_2b_3x3=conv(32, 64, kernel_size=3, padding=1),
        MaxPool_1=nn.MaxPool2d(kernel_size=3, stride=2),
        Conv2d_3b_1x1=conv(64, 80, kernel_size=1),
        Conv2d_4a_3x3=conv(80, 192, kernel_size=3),
        MaxPool_2=nn.MaxPool2d(kernel_size=3, stride=2),
        Mixed_5b=blocks.InceptionA(192, pool_features=32),
        Mixed_5c=blocks.InceptionA(256, pool_features=64),
        Mixed_5d=blocks.InceptionA(288, pool_features=64),
        Mixed_6a=blocks.InceptionB(288),
        Mixed_6b=blocks.InceptionC(768, channels_7x7=128),
        Mixed_6c=blocks.InceptionC(768, channels_7x7=160),
        Mixed_6d=blocks.InceptionC(768, channels_7x7=160),
        Mixed_6e=blocks.InceptionC(768, channels_7x7=192),
        Mixed_7a=blocks.InceptionD(768),
        Mixed_7b=blocks.InceptionE_1(1280),
        Mixed_7c=blocks.InceptionE_2(2048),
        AvgPool=nn.AdaptiveAvgPool2d(output_size=(1, 1)),
        flat=nn.Flatten(),
    )


class DINOv2(nn.Module):
    """DINOv2's vision transformer with patches of 14 x 14; its class token is the features.

    It resizes to 224 x 224 (bicubic, with antialiasing, rounded to 0..255 as Pillow does) and
    standardises by ImageNet's mean and standard deviation (Stein et al. 2023).
    """

    SIDE, PATCHES = 224, 16
    mean: Tensor
    sd: Tensor
    SIZES: ClassVar[dict[int, str]] = {384: "small", 768: "base", 1024: "large"}

    def __init__(self, weights: Weights, where: str) -> None:
        super().__init__()
        library = _import_library("timm")
        what = "DINOv2's ViT-S/14, ViT-B/14 or ViT-L/14 without registers"
        positions = weights.get("pos_embed", torch.zeros(0))
        self.num_features = int(positions.shape[-1])
        if self.num_features not in self.SIZES or positions.ndim != 3:
            raise ValueError(_misfit(where, what, "it has no pos_embed of such a network"))
        self.net = library.create_model(
            f"vit_{self.SIZES[self.num_features]}_patch14_dinov2",
            pretrained=False,
            img_size=self.SIDE,
            num_classes=0,
        )
        known = {name: tensor for name, tensor in weights.items() if name != "mask_token"}
        try:
            self.net.load_state_dict(known | {"pos_embed": resample_positions(positions)})
        except RuntimeError as error:
            raise ValueError(_misfit(where, what, error)) from None
        self.register_buffer("mean", 255 * torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("sd", 255 * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        side = (self.SIDE, self.SIDE)
        resized = F.interpolate(pixels, side, mode="bicubic", antialias=True).round().clamp(0, 255)
        features: Tensor = self.net((resized - self.mean) / self.sd)
        return features


NETWORKS: dict[Kind, Callable[[Weights, str], Any]] = {
    "inception": Inception,
    "dinov2": DINOv2,
}


def resample_positions(positions: Tensor) -> Tensor:
    """Resample position embeddings [1, 1 + P^2, F] to the 16 x 16 patches of 224 x 224 pixels.

    DINOv2 resamples them in this way itself: bicubic, without antialiasing, and by a scale of
    (16 + 0.1) / P. timm's own resampling has antialiasing and gives other features.

    Raises ValueError if the patches are no square.
    """
    count, side = positions.shape[1] - 1, round(max(0, positions.shape[1] - 1) ** 0.5)
    require(side > 0 and side**2 == count, "the patches of pos_embed are no square", count=count)
    if side == DINOv2.PATCHES:
        return positions
    scale = (DINOv2.PATCHES + 0.1) / side
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    resampled = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1].float(), resampled.flatten(2).transpose(1, 2)], 1)


def _import_library(module: str) -> ModuleType:
    """A package of the extra `features`. Raises ValueError if it cannot be imported."""
    try:
        torchvision_datasets()  # Both packages need torchvision, whose import needs care.
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"--features needs the package {module}, which cannot be imported ({error}): "
            "pip install 'genae[features]'"
        ) from None


def _misfit(where: str, what: str, error: object) -> str:
    """The message about weights of another network."""
    text = " ".join(str(error).split())  # torch names every tensor that is missing
    reason = text if len(text) <= 200 else f"{text[:200]} ..."
    return f"--weights: {where} does not hold the weights of {what}: {reason}"
