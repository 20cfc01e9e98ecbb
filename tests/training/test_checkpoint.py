from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.resealing import reseal

from genae_core.data import sealed
from genae_core.distributions.rng import Draw
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.training import checkpoint
from genae_core.training.checkpoint import (
    DESCRIPTION,
    WEIGHTS,
    load_model,
    read,
    save_model,
    write,
)

TENSORS = {"a": torch.arange(3.0), "b": torch.tensor([[1, 2]], dtype=torch.uint8)}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "one", TENSORS, {"text": "é", "number": 1.5})
    tensors, description = read(tmp_path / "deep" / "one")
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype
    assert description["text"] == "é" and description["number"] == 1.5
    assert len(description["sha256"]) == 64
    assert _names(tmp_path / "deep") == ["one"]
    assert _names(tmp_path / "deep" / "one") == sorted([DESCRIPTION, WEIGHTS])


def test_views_and_parameters_are_written_as_plain_tensors(tmp_path: Path) -> None:
    transposed = torch.arange(6.0).reshape(2, 3).T
    write(tmp_path / "one", {"t": transposed, "p": torch.nn.Parameter(torch.ones(2))}, {})
    tensors, _ = read(tmp_path / "one")
    assert torch.equal(tensors["t"], transposed) and torch.equal(tensors["p"], torch.ones(2))


def test_an_existing_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "one", TENSORS, {"which": "first"})
    write(tmp_path / "one", {"a": torch.zeros(9)}, {"which": "second"})
    tensors, description = read(tmp_path / "one")
    assert description["which"] == "first" and torch.equal(tensors["a"], TENSORS["a"])
    assert _names(tmp_path) == ["one"]


@pytest.mark.parametrize("module, call", [(checkpoint, "save_file"), (sealed, "sha256_of")])
def test_a_failed_write_leaves_nothing(
    module: Any, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, call, fail)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "one", TENSORS, {})
    assert _names(tmp_path) == []


def test_a_description_that_json_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "one", TENSORS, {"number": float("nan")})
    assert _names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "else").write_text("")
    with pytest.raises(OSError, match="could not write"):
        write(tmp_path / "one", TENSORS, {})
    assert _names(tmp_path) == ["one"] and _names(tmp_path / "one") == ["else"]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no readable checkpoint in {tmp_path / 'one'}"):
        read(tmp_path / "one")


@pytest.mark.parametrize("text", ["", "{", '{"sha256": ', "[]", "3", "null", "{}"])
def test_a_broken_description_is_refused(text: str, tmp_path: Path) -> None:
    write(tmp_path / "one", TENSORS, {})
    (tmp_path / "one" / DESCRIPTION).write_text(text)
    with pytest.raises(ValueError, match="one"):
        read(tmp_path / "one")


def test_weights_that_are_missing_or_changed_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "one", TENSORS, {})
    weights = tmp_path / "one" / WEIGHTS
    data = weights.read_bytes()
    for broken in (data[:-1], data + b"\0", b"", bytes([data[0] ^ 1]) + data[1:]):
        weights.write_bytes(broken)
        with pytest.raises(ValueError, match=f"delete {tmp_path / 'one'}"):
            read(tmp_path / "one")
    weights.write_bytes(data)
    read(tmp_path / "one")
    weights.unlink()
    with pytest.raises(ValueError, match="no readable checkpoint"):
        read(tmp_path / "one")


CONFIG = VAEConfig(latent_dim=2, net=MLPConfig(widths=(4,)))


def _saved(folder: Path) -> tuple[Any, Draw]:
    draw = Draw(3, "training")
    with draw.as_global():
        model = CONFIG.build((1, 2, 2))
    draw.normal((5,))
    save_model(folder, model, CONFIG, (1, 2, 2), draw)
    return model, draw


def test_a_model_is_read_with_its_config_buffers_and_stream(tmp_path: Path) -> None:
    model, draw = _saved(tmp_path / "one")
    loaded = load_model(tmp_path / "one")
    assert loaded.config == CONFIG and not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    resumed = Draw(0)
    resumed.generator.set_state(read(tmp_path / "one")[0]["draw"])
    assert torch.equal(resumed.normal((5,)), draw.normal((5,)))


def test_the_folder_is_taken_as_a_user_types_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _saved(Path("~/a b?"))
    assert (tmp_path / "a b?" / WEIGHTS).is_file()
    for spelling in (Path("~/a b?"), (tmp_path / "a b?").as_uri()):
        load_model(spelling)  # type: ignore[arg-type]  # a library's user passes texts too


def test_loading_twice_gives_the_same_weights(tmp_path: Path) -> None:
    _saved(tmp_path / "one")
    one, other = load_model(tmp_path / "one"), load_model(tmp_path / "one")
    for name, tensor in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_a_class_that_is_not_registered_is_refused(tmp_path: Path) -> None:
    """The description may name registered classes only."""
    _saved(tmp_path / "one")
    file = tmp_path / "one" / DESCRIPTION
    model = sealed.read(file)["model"]
    reseal(file, model={**model, "config": "pathlib.Path"})
    with pytest.raises(ValueError, match="no config 'pathlib.Path' in this program"):
        load_model(tmp_path / "one")
