import dataclasses
import importlib
import json
import math
import pkgutil
import sys
import types
import typing
from typing import Any, Literal

import pytest

from genae_core.config import (
    KEY,
    canonicalize,
    flatten,
    from_dict,
    from_json,
    identity,
    later_field,
    register,
    require,
    require_amount,
    require_finite,
    require_gpus,
    require_int,
    require_positive_int,
    to_dict,
    to_json,
)
from genae_core.config.former_names import FORMER_PATHS
from genae_core.config.registry import OWN_PACKAGES, class_of, registered_classes
from genae_core.data.base import DataConfig
from genae_core.data.digits import DigitsConfig
from genae_core.models.aae import AAEConfig
from genae_core.models.config import ModelConfig
from genae_core.models.info_gan import InfoGANConfig
from genae_core.models.optimizers import AdamConfig
from genae_core.models.vae import VAEConfig
from genae_core.models.wrapped_checkpoint import WrappedConfig
from genae_core.nets.base import NetConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.base import PriorConfig
from genae_core.priors.ex_post import ExPostMixture
from genae_core.priors.normal import NormalPriorConfig
from genae_core.samplers.base import Sampler
from genae_core.samplers.config import ChainConfig, FittedPriorConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.training.config import TrainingConfig

# One value for each protocol, another than a field's default.
VALUES: dict[Any, Any] = {
    int: 3,
    float: 0.25,
    str: "somewhere",
    bool: True,
    tuple[int, int, int]: (3, 8, 8),
    DataConfig: DigitsConfig(binarize=True),
    ModelConfig: VAEConfig(latent_dim=3),
    NetConfig: MLPConfig(widths=(7, 5)),
    PriorConfig: NormalPriorConfig(),
    Sampler: EncodeDecode(corrupt=False, decode="sample"),
    FittedPriorConfig: ExPostMixture(components=3),
}
# Values of fields that not every value fits.
TEXTS: dict[tuple[type, str], Any] = {
    (WrappedConfig, "loader"): "pythae",
    (WrappedConfig, "sha256"): 64 * "a",
    (InfoGANConfig, "latent_dim"): 14,  # its codes have 12 dimensions
}


def _value(hint: Any) -> Any:
    """Some value of the annotated type."""
    if hint in VALUES:
        return VALUES[hint]
    if dataclasses.is_dataclass(hint):
        return _filled(hint)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return inner[-1]
    if origin is tuple:
        return (_value(inner[0]),)
    if origin in (typing.Union, types.UnionType):
        return _value(inner[0])
    raise AssertionError(f"add a value for {hint} to VALUES")


def _filled(kind: type, every: bool = False) -> Any:
    """The config with values for its required fields, or for every field that allows one."""
    hints = typing.get_type_hints(kind)
    required = {
        f.name: TEXTS.get((kind, f.name), _value(hints[f.name]))
        for f in dataclasses.fields(kind)
        if f.default is f.default_factory is dataclasses.MISSING
    }
    config = kind(**required)
    for field in dataclasses.fields(kind) if every else ():
        try:
            # A later field with its default value is left out of files.
            is_switch = isinstance(field.default, bool)
            other = not field.default if is_switch else _value(hints[field.name])
            config = dataclasses.replace(config, **{field.name: other})
        except (ValueError, AssertionError):
            continue  # outside this field's range, or not a config's type
    return config


CONFIGS = [
    kind for kind in registered_classes().values() if kind.__module__.startswith("genae_core.")
]
# Frozen dataclasses whose every field is passed by name, and that are no configs: flags and such.
NO_CONFIGS = {"ImageGeneratorConfig", "LoadOptions", "Parts", "TwoStageConfig"}


def test_every_config_of_genae_is_registered() -> None:
    """Also one that somebody adds and forgets to register: it could not be saved."""
    for package in OWN_PACKAGES:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            for value in vars(importlib.import_module(f"{package}.{module.name}")).values():
                if (
                    isinstance(value, type)
                    and dataclasses.is_dataclass(value)
                    and value.__module__ == f"{package}.{module.name}"
                    and value.__dataclass_params__.frozen  # type: ignore[attr-defined]
                    and all(field.kw_only for field in dataclasses.fields(value))
                ):
                    assert value in CONFIGS or value.__name__ in NO_CONFIGS, value


def test_every_former_path_is_read_as_the_class_of_today() -> None:
    for name, path in FORMER_PATHS.items():
        assert class_of(path) is class_of(name)
        assert path.rsplit(".", 1)[1] == class_of(name).__name__
    assert {class_of(name) for name in FORMER_PATHS} <= set(CONFIGS)


def test_a_former_file_is_read_and_has_the_same_identity() -> None:
    """As version 0.1 wrote it, with the import paths and the field names of then."""
    former = {
        KEY: "genae_core.samplers.base.ChainConfig",
        "sampler": {
            KEY: "genae_core.samplers.encode_decode.EncodeDecode",
            "corrupt": True,
            "decode": "mean",
        },
        "record": [0, 1],
        "num_chains": None,
        "sub_batch": 500,
        "batch_norm": "batch",
        "law": {
            KEY: "genae_core.priors.ex_post.ExPostMixture",
            "components": 10,
        },
        "seed": 0,
    }
    chain = ChainConfig(sampler=EncodeDecode(), record=(0, 1), fitted_prior=ExPostMixture())
    assert from_dict(former) == chain
    assert json.dumps(identity(chain)) == json.dumps(former)
    assert canonicalize({"chains": [former]}) == {"chains": [to_dict(chain)]}
    assert "law" not in to_dict(chain) and to_dict(chain)[KEY] == "chain"


def test_a_class_without_a_name_is_refused_when_it_is_saved() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Nameless(AdamConfig):
        pass

    with pytest.raises(ValueError, match=r"Nameless has no name on disk.*register"):
        to_dict(Nameless())


def test_the_walk_finds_the_configs() -> None:
    names = {kind.__name__ for kind in CONFIGS}
    assert names >= {
        "VAEConfig",
        "AAEConfig",
        "MLPConfig",
        "DCGANConfig",
        "CriticConfig",
        "NormalPriorConfig",
        "AdamConfig",
        "TrainingConfig",
        "ChainConfig",
        "EncodeDecode",
        "Ancestral",
        "Reconstruction",
        "ClassifierConfig",
        "Experiment",
        "DigitsConfig",
        "MNISTConfig",
        "SVHNConfig",
        "CelebAConfig",
    }


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("every", [False, True])
def test_a_config_survives_json(kind: type, every: bool) -> None:
    config = _filled(kind, every)
    again = from_json(to_json(config))
    assert again == config and type(again) is kind
    assert hash(again) == hash(config)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert to_json(again) == to_json(config)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_is_frozen_and_takes_no_other_field(kind: type) -> None:
    config = _filled(kind)
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field.name, None)
    with pytest.raises(ValueError, match="has no field misspelt"):
        from_dict({**to_dict(config), "misspelt": 1})
    with pytest.raises(TypeError):
        dataclasses.replace(config, misspelt=1)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_flattens_to_primitives(kind: type) -> None:
    flat = flatten(_filled(kind, every=True))
    assert flat.keys() >= {
        "law" if field.name == "fitted_prior" else field.name
        for field in dataclasses.fields(kind)
        if not isinstance(getattr(_filled(kind), field.name), tuple)
    }
    for value in flat.values():
        assert value is None or isinstance(value, str | int | float | bool)


@pytest.mark.parametrize("kind", CONFIGS)
def test_missing_fields_are_refused(kind: type) -> None:
    data = to_dict(_filled(kind))
    for field in dataclasses.fields(kind):
        if field.default is field.default_factory is dataclasses.MISSING:
            with pytest.raises(ValueError, match=field.name):
                from_dict({name: value for name, value in data.items() if name != field.name})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pathlib.Path", "no config"),
        ("os.system", "no config"),
        ("Path", "no config"),
        ("genae_core_evil.models.VAEConfig", "no config"),
        ("genae_core", "no config"),
        ("genae_core.models.vae.Nothing", "no config"),
        ("genae_core.nothing.VAEConfig", "no config"),
        ("genae_core.models.vae.negative_elbo", "no config"),
        ("genae_core.models.vae.VAE", "no config"),
        ("genae_core.config.importlib", "no config"),
        (3, "has its name under 'config'"),
        (None, "has its name under 'config'"),
        (["vae"], "has its name under 'config'"),
        ({"config": "vae"}, "has its name under 'config'"),
    ],
)
def test_a_name_that_is_not_registered_is_refused_and_imports_nothing(
    path: object, message: str
) -> None:
    before = set(sys.modules)
    with pytest.raises(ValueError, match=message):
        from_dict({KEY: path})
    assert set(sys.modules) == before
    nested = to_dict(VAEConfig(latent_dim=2))
    nested["net"] = {KEY: path}
    with pytest.raises(ValueError, match=message):
        from_dict(nested)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", "{}", '"genae_core.x.Y"', "[" * 100_000]
)
def test_text_that_is_no_config_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused(value: float) -> None:
    @register("test.unchecked")
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Unchecked:
        number: float

    with pytest.raises(ValueError, match="JSON"):
        to_json(Unchecked(number=value))
    text = to_json(AdamConfig()).replace("0.001", json.dumps(value))
    with pytest.raises(ValueError, match="learning_rate must be a finite number"):
        from_json(text)


def test_what_is_no_primitive_is_not_written() -> None:
    @register("test.odd")
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Odd:
        thing: Any

    for thing in ([1], {"a": 1}, object()):
        with pytest.raises(TypeError, match="primitives, tuples and configs"):
            to_dict(Odd(thing=thing))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sampler", 3),
        ("sampler", None),
        ("sampler", {KEY: "net.mlp"}),
        ("sampler", {"corrupt": True}),
        ("fitted_prior", {KEY: "adam"}),
        ("fitted_prior", [{KEY: "fitted_prior.mixture"}]),
        ("record", 0),
        ("record", "01"),
        ("record", [[0]]),
        ("sub_batch", "500"),
        ("batch_norm", ["batch"]),
        ("seed", True),
    ],
)
def test_a_value_of_another_type_on_disk_is_refused(field: str, value: object) -> None:
    data = to_dict(ChainConfig(sampler=EncodeDecode()))
    with pytest.raises(ValueError, match=f"{field} must be|under .config."):
        from_dict({**data, field: value})


def test_every_field_of_every_config_refuses_a_list_of_lists() -> None:
    for kind in CONFIGS:
        data = to_dict(_filled(kind))
        for field in dataclasses.fields(kind):
            with pytest.raises(ValueError, match=f"{field.name} must be"):
                from_dict({**data, field.name: [[[]]]})


def test_whole_numbers_fit_fields_of_floats() -> None:
    assert from_dict({KEY: "adam", "learning_rate": 1}) == AdamConfig(learning_rate=1.0)
    with pytest.raises(ValueError, match="learning_rate must be a finite number"):
        from_dict({KEY: "adam", "learning_rate": 10**400})


def test_a_field_under_both_of_its_names_is_refused() -> None:
    data = to_dict(ChainConfig(sampler=EncodeDecode()))
    with pytest.raises(ValueError, match="fitted_prior twice"):
        from_dict({**data, "law": None})


@pytest.mark.parametrize("data", [None, [], "vae", 3])
def test_what_is_no_object_is_no_config(data: Any) -> None:
    with pytest.raises(ValueError, match="a config on disk is a JSON object, got"):
        from_dict(data)


def test_flatten_names_nested_fields() -> None:
    chain = ChainConfig(sampler=EncodeDecode(corrupt=False), record=(0, 2))
    assert flatten(chain) == {
        "sampler": "EncodeDecode",
        "sampler.corrupt": False,
        "sampler.decode": "mean",
        "record": "[0, 2]",
        "num_chains": None,
        "sub_batch": 500,
        "batch_norm": "batch",
        "law": None,
        "seed": 0,
    }

    @register("test.outer")
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Outer:
        chains: tuple[ChainConfig, ...]
        empty: tuple[int, ...] = ()

    flat = flatten(Outer(chains=(chain, dataclasses.replace(chain, seed=4))))
    assert flat["chains.0"] == "ChainConfig" and flat["chains.1.seed"] == 4
    assert flat["chains.1.sampler"] == "EncodeDecode" and flat["empty"] == "[]"


@pytest.mark.parametrize("kind", [VAEConfig, AAEConfig])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be a whole number >= 1, got latent_dim=0"),
        ({"latent_dim": -1}, "latent_dim must"),
        ({"latent_dim": 2.0}, "latent_dim must"),
        ({"latent_dim": True}, "latent_dim must"),
        ({"latent_dim": "2"}, "latent_dim must"),
        ({"latent_dim": None}, "latent_dim must"),
        ({"noise": -0.1}, "noise must be a finite number >= 0, got noise=-0.1"),
        ({"noise": math.nan}, "noise must"),
        ({"noise": math.inf}, "noise must"),
        ({"noise": True}, "noise must"),
        ({"noise": "0.5"}, "noise must"),
    ],
)
def test_a_family_out_of_range_is_refused(
    kind: type, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**{"latent_dim": 2, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"learning_rate": -1e-3}, "learning_rate must"),
        ({"learning_rate": math.nan}, "learning_rate must"),
        ({"learning_rate": math.inf}, "learning_rate must"),
        ({"learning_rate": True}, "learning_rate must"),
        ({"beta1": 1.0}, "beta1 must"),
        ({"beta1": -0.1}, "beta1 must"),
        ({"beta1": math.nan}, "beta1 must"),
        ({"beta2": 1.0}, "beta2 must"),
        ({"beta2": math.nan}, "beta2 must"),
    ],
)
def test_an_optimiser_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdamConfig(**settings)


def test_the_rules_name_what_they_got() -> None:
    require(True, "fine")
    with pytest.raises(ValueError, match="^a must be b, got a=1, b='x'$"):
        require(False, "a must be b", a=1, b="x")
    require_positive_int(a=1, b=10**9)
    require_finite(0, a=0, b=2.5)
    require_finite(-1, a=-1)
    with pytest.raises(ValueError, match="^b must be a whole number >= 1, got b=0$"):
        require_positive_int(a=1, b=0)
    with pytest.raises(ValueError, match="^b must be a finite number >= 2, got b=1$"):
        require_finite(2, a=2, b=1)
    require_positive_int(a=2**31 - 1)
    with pytest.raises(ValueError, match="^a must be <= 2,147,483,647, got a=2147483648$"):
        require_positive_int(a=2**31)
    require_int(a=2**63 - 1, b=-(2**63))
    with pytest.raises(ValueError, match="^a must fit in 64 bits, got a=9223372036854775808$"):
        require_int(a=2**63)
    require_amount(a=0, b=1e9)
    for amount in (-1, 1.1e9, math.nan, math.inf):
        with pytest.raises(ValueError, match="^a must be"):
            require_amount(a=amount)
    require_gpus(a=0, b=0.25, c=1, d=4.0)
    with pytest.raises(ValueError, match="^a must be whole if it is above 1, got a=1.5$"):
        require_gpus(a=1.5)


def test_a_value_out_of_range_on_disk_is_refused_as_in_the_program() -> None:
    text = to_json(TrainingConfig(epochs=3, batch_size=4))
    with pytest.raises(ValueError, match="epochs must"):
        from_json(text.replace('"epochs": 3', '"epochs": 0'))


@register("test.with_later_field")
@dataclasses.dataclass(frozen=True, kw_only=True)
class WithLaterField:
    """As if `after` had come when files with `before` were stored already."""

    before: int = 1
    after: bool = later_field(False)


def test_a_later_field_is_left_out_while_it_has_its_default() -> None:
    """So that files and keys stay as they were before the config had it."""
    plain, other = WithLaterField(), WithLaterField(after=True)
    stored = {KEY: "test.with_later_field", "before": 1}
    assert to_dict(plain) == identity(plain) == stored and flatten(plain) == {"before": 1}
    assert to_dict(other) == identity(other) == {**stored, "after": True}
    assert flatten(other) == {"before": 1, "after": True}
    for config in (plain, other):
        assert from_dict(to_dict(config)) == from_json(to_json(config)) == config
    assert from_dict({**stored, "after": False}) == plain
    assert (plain.after, other.after) == (False, True)
