"""Models that other packages have trained, as configs: what they are is their content."""

import dataclasses
import importlib
import json
import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genae_core.config import own_code, own_definitions, own_functions
from genae_core.config.serialize import from_json, identity, to_json
from genae_core.distributions.rng import Draw
from genae_core.experiment.experiment import Experiment, check_sampler
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.wrapped import WrappedAutoencoder, WrappedDecoder, wrap
from genae_core.models.wrapped_checkpoint import WrappedConfig, wrapped_config
from genae_core.nets.base import Shape, sampling_mode
from genae_core.priors.ex_post import ExPostMixture
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.reconstruction import Reconstruction
from genae_core.sweep.runs import key_of_identity, run_key
from genae_core.testing import tiny
from genae_core.training import checkpoint

SHAPE: Shape = (1, 8, 8)


def generator() -> nn.Module:
    layers = (nn.Linear(2, 64), nn.Sigmoid(), nn.Unflatten(1, SHAPE))
    return nn.Sequential(*layers)


def load_generator(path: Path, shape: Shape) -> WrappedDecoder:
    net = generator()
    net.load_state_dict(torch.load(path, weights_only=True))
    return wrap(net, None, net, latent_dim=2, shape=shape)


def load_linear(path: Path, shape: Shape) -> WrappedAutoencoder:
    net = generator()
    net.load_state_dict(torch.load(path, weights_only=True))

    def encode(x: Tensor) -> Tensor:
        return x.flatten(1) @ net[0].weight

    return wrap(net, encode, net, latent_dim=2, shape=shape, noise=0.25)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    with Draw(0).as_global():
        torch.save(generator().state_dict(), tmp_path / "net.pt")
    return tmp_path / "net.pt"


def experiment(model: WrappedConfig, *samplers: Any) -> Experiment:
    base = tiny.experiment()
    chains = tuple(
        ChainConfig(sampler=sampler, record=(0, 1), sub_batch=16)
        for sampler in samplers or (EncodeDecode(),)
    )
    return dataclasses.replace(base, model=model, training=None, chains=chains)


def test_the_config_says_what_the_model_is(weights: Path) -> None:
    model = wrapped_config(weights, load_linear, SHAPE, "ours")
    assert (model.latent_dim, model.noise, model.has_encoder) == (2, 0.25, True)
    assert model.family == "ours (already trained)"
    assert model.loader == f"{__name__}:load_linear"
    decoder = wrapped_config(weights, load_generator, SHAPE)
    assert (decoder.has_encoder, decoder.noise) == (False, 0.0)
    assert decoder.family == f"{__name__}:load_generator (decoder alone)"
    z = Draw(1).normal((5, 2))
    with sampling_mode(model.build(SHAPE), "running"):
        torch.testing.assert_close(
            model.build(SHAPE).decode(z).mean, decoder.build(SHAPE).decode(z).mean
        )


def test_another_path_is_the_same_run_and_another_content_is_not(
    weights: Path, tmp_path: Path
) -> None:
    here = wrapped_config(weights, load_linear, SHAPE)
    moved = shutil.copy(weights, tmp_path / "moved.bin")
    there = wrapped_config(moved, load_linear, SHAPE)
    assert here == there and here.checkpoint != there.checkpoint
    one, other = experiment(here), experiment(there)
    key = run_key("s", one, one.chains[0])
    assert run_key("s", other, other.chains[0]) == key
    text = to_json(one)
    assert from_json(text) == one and from_json(text).model.checkpoint == here.checkpoint
    assert key_of_identity("s", identity(from_json(text))) == key

    state = torch.load(weights, weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, weights)
    changed = experiment(wrapped_config(weights, load_linear, SHAPE))
    assert run_key("s", changed, changed.chains[0]) != key
    with pytest.raises(ValueError, match=rf"{weights} has changed: its sha256 is .*expected="):
        here.build(SHAPE)
    weights.unlink()
    with pytest.raises(ValueError, match=f"there is no checkpoint {weights} on .*every node"):
        here.build(SHAPE)


def test_a_folder_is_its_files_wherever_it_lies(tmp_path: Path) -> None:
    def write(folder: Path, name: str) -> str:
        folder.mkdir()
        with Draw(0).as_global():
            torch.save(generator().state_dict(), folder / name)
        (folder / "empty").touch()
        return wrapped_config(folder, load_folder, SHAPE).sha256

    first = write(tmp_path / "a", "net.pt")
    assert write(tmp_path / "b", "net.pt") == first
    assert write(tmp_path / "c", "other.pt") != first


def load_folder(path: Path, shape: Shape) -> WrappedDecoder:
    return load_generator(next(path.glob("*.pt")), shape)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_saved_model_needs_the_users_file_no_longer(
    weights: Path, tmp_path: Path, kind: str
) -> None:
    place, loader = weights, load_generator
    if kind == "folder":
        place, loader = tmp_path / "folder", load_folder
        (place / "inner").mkdir(parents=True)
        shutil.copy(weights, place / "net.pt")
        (place / "inner" / "notes.txt").write_text("of ours")
    config = wrapped_config(place, loader, SHAPE)
    model = config.build(SHAPE)
    checkpoint.save_model(tmp_path / "saved", model, config, SHAPE, Draw(0))
    weights.unlink()
    shutil.rmtree(tmp_path / "folder", ignore_errors=True)
    loaded = checkpoint.load_model(tmp_path / "saved")
    z = Draw(1).normal((5, 2))
    assert torch.equal(loaded.decode(z).mean, model.decode(z).mean)
    assert checkpoint.load_model_config(tmp_path / "saved") == config
    with pytest.raises(ValueError, match="there is no checkpoint"):
        checkpoint.save_model(tmp_path / "again", loaded, config, SHAPE, Draw(0))


def test_saved_bytes_that_are_not_the_models_reach_no_loader(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = wrapped_config(weights, load_generator, SHAPE)
    checkpoint.save_model(tmp_path / "saved", config.build(SHAPE), config, SHAPE, Draw(0))
    tensors, description = checkpoint.read(tmp_path / "saved")
    monkeypatch.setattr(WrappedConfig, "load", lambda *_: pytest.fail("it was loaded"))
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    changed["model.file/net.pt"][0] ^= 1
    with pytest.raises(ValueError, match="^it: the checkpoint .*net.pt has changed"):
        checkpoint.restore_model(changed, description, "it")
    (tmp_path / "outside").mkdir()
    for name in ("model.file/../../outside/net.pt", "model./net.pt", "model.other/net.pt"):
        with pytest.raises(ValueError, match="^it: it holds no files of a checkpoint"):
            checkpoint.restore_model({name: tensors["model.file/net.pt"]}, description, "it")
    assert not list((tmp_path / "outside").iterdir())


def test_a_file_makes_genae_call_no_function_that_nobody_trusts(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from os import system\n"
        "from pathlib import Path\n"
        f"from {__name__} import load_generator\n"
        "def load(path, shape):\n"
        "    return load_generator(path, shape)\n"
    )
    (tmp_path / "my_loader.py").write_text(code)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own_code, "TRUSTED", (trusted := []))
    monkeypatch.setattr(own_functions, "TRUSTED", trusted)
    monkeypatch.setattr(own_functions, "_functions", {})
    for loader in ("my_loader:load", "os:system", f"{__name__}:load_generator"):
        with pytest.raises(ValueError, match=f"no function '{loader}' in this program: name the"):
            wrapped_config(weights, loader, SHAPE)
    own_code.trust(str(tmp_path / "my_loader.py"))
    config = wrapped_config(weights, "my_loader:load", SHAPE)
    place = own_definitions(config)["my_loader:load"]
    assert (place["class"], place["file"]) == ("my_loader.load", str(tmp_path / "my_loader.py"))
    for name in ("system", "load_generator", "nothing"):
        with pytest.raises(ValueError, match="the module my_loader does not define it"):
            wrapped_config(weights, f"my_loader:{name}", SHAPE)

    checkpoint.save_model(tmp_path / "saved", config.build(SHAPE), config, SHAPE, Draw(0))
    trusted.clear()
    own_functions._functions.clear()
    with pytest.raises(ValueError, match=rf"no function 'my_loader:load' .* --trust {tmp_path}/"):
        checkpoint.load_model(tmp_path / "saved")
    del sys.modules["my_loader"]


def test_a_config_takes_its_loader_to_another_process(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = wrapped_config(weights, load_linear, SHAPE)
    sent = pickle.dumps(experiment(config))
    monkeypatch.setattr(own_functions, "_functions", {})
    received = pickle.loads(sent).model
    assert received == config and received.checkpoint == config.checkpoint
    assert received.build(SHAPE).latent_dim == 2
    assert own_definitions(received)[config.loader]["file"] == __file__


BAD = {
    "a shape": (lambda z: z.reshape(-1, 1, 1, 2), r"images of shape \(B, 1, 8, 8\), got for_two"),
    "a type": (lambda z: torch.zeros(len(z), *SHAPE).double(), "must give float32, .*float64"),
    "a number": (lambda z: torch.full((len(z), *SHAPE), torch.nan), "not_finite=128, of=128"),
    "a range": (lambda z: torch.full((len(z), *SHAPE), 2.0), r"pixels in \[0, 1\].* lowest=2.0"),
    "a result": (lambda z: [1], "must give a tensor, a pair of tensors or a distribution"),
    "an error": (lambda z: z @ torch.zeros(5, 5), "RuntimeError: mat1 and mat2 shapes"),
}
_bad: Any = None


def load_bad(path: Path, shape: Shape) -> WrappedDecoder:
    return wrap(nn.Linear(1, 1), None, _bad, latent_dim=2, shape=shape)


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_with_a_model_is_said_before_any_work(
    weights: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    decode, message = BAD[what]
    monkeypatch.setattr(sys.modules[__name__], "_bad", decode)
    with pytest.raises(ValueError, match=message) as refused:
        wrapped_config(weights, load_bad, SHAPE)
    start = f"{__name__}:load_bad cannot make the model of {weights} for images of shape (1, 8, 8)"
    assert str(refused.value).startswith(start)


def test_other_refusals(weights: Path) -> None:
    with pytest.raises(ValueError, match="loader of a model must be pythae, autoencoder_kl or MO"):
        wrapped_config(weights, "pyhtae", SHAPE)
    with pytest.raises(ValueError, match="a loader must be a function that .* defines by `def`"):
        wrapped_config(weights, lambda *_: load_generator(*_), SHAPE)
    with pytest.raises(ValueError, match="images of shape .3, 8, 8.: RuntimeError: mat1 and mat2"):
        wrapped_config(weights, load_three, (3, 8, 8))
    config = wrapped_config(weights, load_linear, SHAPE)
    with pytest.raises(ValueError, match="latent_dim=2 for .*: its code has changed"):
        dataclasses.replace(config, latent_dim=3).build(SHAPE)
    with pytest.raises(ValueError, match="sha256 must be 64 hexadecimal digits"):
        dataclasses.replace(config, sha256="0")
    base = tiny.experiment()
    with pytest.raises(ValueError, match=r"already trained.* so training must be None"):
        dataclasses.replace(base, model=config)
    with pytest.raises(ValueError, match="DVAE must be trained, so training must not be None"):
        dataclasses.replace(base, training=None)
    with pytest.raises(ValueError, match="trains its autoencoder, or takes one of genae's"):
        FlowAEConfig(autoencoder=config)
    assert experiment(config).count_weights() == 0


def load_three(path: Path, shape: Shape) -> WrappedAutoencoder:
    """Takes images of one channel, whatever those of the data have."""
    inner = load_linear(path, SHAPE)
    return wrap(
        inner, lambda x: inner.encode(x).mean, lambda z: inner.decode(z).mean, 2, shape=shape
    )


def test_a_decoder_alone_has_no_chain(weights: Path) -> None:
    decoder = wrapped_config(weights, load_generator, SHAPE)
    check_sampler(decoder, ChainConfig(sampler=Ancestral()), SHAPE)
    for sampler in (EncodeDecode(), EncodeDecode(corrupt=False), Reconstruction()):
        with pytest.raises(ValueError, match="^the model has no encoder$"):
            check_sampler(decoder, ChainConfig(sampler=sampler), SHAPE)
    fitted = ChainConfig(sampler=Ancestral(), fitted_prior=ExPostMixture())
    with pytest.raises(ValueError, match="the model has no encoder: a prior is fitted to codes"):
        check_sampler(decoder, fitted, SHAPE)


class Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def pythae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = importlib.import_module("pythae.models")
    folder = tmp_path_factory.mktemp("pythae") / "final_model"
    with Draw(0).as_global():
        model = package.VAE(package.VAEConfig(input_dim=SHAPE, latent_dim=3))
    model.save(str(folder))
    return folder


def test_a_folder_of_pythae(pythae: Path, tmp_path: Path) -> None:
    config = wrapped_config(pythae, "pythae", SHAPE)
    assert (config.family, config.latent_dim) == ("Pythae VAE (already trained)", 3)
    model = config.build(SHAPE)
    own = importlib.import_module("pythae.models").AutoModel.load_from_folder(str(pythae)).eval()
    x, z = Draw(1).uniform((4, *SHAPE)), Draw(2).normal((4, 3))
    with sampling_mode(model, "running"):
        assert torch.equal(model.encode(x).mean, own.encoder(x).embedding)
        assert torch.equal(model.decode(z).mean, own.decoder(z).reconstruction)
    (pythae / "notes.txt").write_text("the folder's other files are not the model's")
    assert wrapped_config(pythae, "pythae", SHAPE) == config
    with pytest.raises(ValueError, match=r"of shape \(1, 8, 8\), so the dataset must be too"):
        wrapped_config(pythae, "pythae", (1, 16, 16))
    with pytest.raises(ValueError, match="a folder with model_config.json and model.pt"):
        wrapped_config(pythae / "model.pt", "pythae", SHAPE)
    with pytest.raises(ValueError, match="has no model_config.json and no model.pt; it holds"):
        wrapped_config(pythae.parent, "pythae", SHAPE)


def test_a_pickle_in_a_folder_of_pythae_is_not_unpickled(
    pythae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mark = tmp_path / "model", tmp_path / "the trap was sprung"
    shutil.copytree(pythae, folder)
    torch.save({"model_state_dict": Trap(mark)}, folder / "model.pt")
    with pytest.raises(ValueError, match="model.pt does not hold the plain weights"):
        wrapped_config(folder, "pythae", SHAPE)
    about = json.loads((folder / "model_config.json").read_text())
    (folder / "encoder.pkl").write_bytes(pickle.dumps(Trap(mark)))
    (folder / "model_config.json").write_text(json.dumps({**about, "uses_default_encoder": False}))
    with pytest.raises(ValueError, match="pickled, which could run programs, and are not read"):
        wrapped_config(folder, "pythae", SHAPE)
    (folder / "model_config.json").write_text(json.dumps({**about, "name": "VAMPConfig"}))
    with pytest.raises(ValueError, match="give a loader of your own, got model='VAMP'"):
        wrapped_config(folder, "pythae", SHAPE)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    (folder / "model_config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="makes torch unpickle any object; unset it"):
        wrapped_config(folder, "pythae", SHAPE)
    assert not mark.exists()


def test_a_missing_package_is_named(pythae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythae.models", None)
    with pytest.raises(ValueError, match=r"needs the package pythae.*pip install 'genae\[models"):
        wrapped_config(pythae, "pythae", SHAPE)


def test_a_folder_of_diffusers(tmp_path: Path) -> None:
    importlib.import_module("genae_core.data.torchvision_import").torchvision_datasets()
    package: Any = importlib.import_module("diffusers")
    with Draw(0).as_global():
        own = package.AutoencoderKL(
            in_channels=1,
            out_channels=1,
            latent_channels=2,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 16),
            norm_num_groups=4,
        ).eval()
    own.save_pretrained(str(tmp_path / "kl"))
    config = wrapped_config(tmp_path / "kl", "autoencoder_kl", SHAPE)
    assert (config.name, config.latent_dim) == ("AutoencoderKL", 2 * 4 * 4)
    assert wrapped_config(tmp_path / "kl", "autoencoder_kl", (1, 16, 16)).latent_dim == 2 * 8 * 8
    model = config.build(SHAPE)
    x = Draw(1).uniform((4, *SHAPE))
    with sampling_mode(model, "running"), sampling_mode(own, "running"):
        posterior = own.encode(2 * x - 1).latent_dist
        torch.testing.assert_close(model.encode(x).mean, posterior.mean.flatten(1))
        images = own.decode(posterior.mean).sample
        decoded = model.decode(posterior.mean.flatten(1)).mean
        torch.testing.assert_close(decoded, (images / 2 + 0.5).clamp(0, 1))
    with pytest.raises(ValueError, match="must be multiples of 2; --size changes them"):
        wrapped_config(tmp_path / "kl", "autoencoder_kl", (1, 7, 7))
    with pytest.raises(ValueError, match="of images with 1 channels, so the dataset must be too"):
        wrapped_config(tmp_path / "kl", "autoencoder_kl", (3, 8, 8))
