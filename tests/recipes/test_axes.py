"""The axes of `genae sweep`: their names, their values, and the experiments of their cells."""

import dataclasses
from typing import Any

import pytest

from genae_core.commands import sweep as command
from genae_core.experiment.experiment import Experiment
from genae_core.models.wrapped_checkpoint import WrappedConfig
from genae_core.recipes.axes import axes_of, check_axes, grid_of, settings_to_vary, vary
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.families import FAMILIES
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.study import study_experiment
from genae_core.recipes.wrapped_cells import wrapped_experiment

OPTIONS = StudyOptions(families=tuple(FAMILIES), smoke=True)


def base(family: str, latent_dim: int = 16, **flags: Any) -> Experiment:
    options = dataclasses.replace(OPTIONS, **flags)
    return study_experiment(options, family, latent_dim, (dataset_recipe(options).chain(),))


def read(*axes: str, families: tuple[str, ...] = ("vae",)) -> Any:
    bases = {family: base(family) for family in families}
    return axes_of([tuple(axis.split()) for axis in axes], bases, {})


@pytest.mark.parametrize("family", FAMILIES)
def test_varying_a_base_makes_what_a_study_makes(family: str) -> None:
    """Every family takes the latent dimension, one with two stages in its autoencoder."""
    assert vary(base(family), {"model.latent_dim": 14}) == base(family, 14)
    assert vary(base(family), {"training.epochs": 7}) == base(family, epochs=7)
    assert "model.latent_dim" in settings_to_vary(base(family))


def test_a_model_that_is_already_trained_has_axes_of_its_chains_alone() -> None:
    model = WrappedConfig(
        loader="pythae", checkpoint="/m", sha256=64 * "0", latent_dim=8, name="theirs"
    )
    recipe = dataset_recipe(OPTIONS)
    theirs = wrapped_experiment(recipe, model, (recipe.chain(),))
    settings = settings_to_vary(theirs)
    assert {name.partition(".")[0] for name in settings} == {"chain"}
    varied = vary(theirs, {"chain.batch_norm": "running"})
    assert varied == dataclasses.replace(theirs, chains=(recipe.chain(batch_norm="running"),))
    axis = [("training.epochs", "1")]
    with pytest.raises(ValueError, match="theirs has no such setting, and vae has it"):
        axes_of(axis, {"vae": base("vae"), "theirs": theirs}, {})


def test_with_trained_models_no_family_is_trained_unless_it_is_named() -> None:
    wrapped = (("pythae", "folder"),)
    assert command.Options(wrapped=wrapped).families == ()
    assert command.Options(wrapped=wrapped, families=("vae",)).families == ("vae",)
    assert command.Options().families == ("vae",)
    with pytest.raises(ValueError, match="--wrapped takes a loader, the path of a checkpoint"):
        command.Options(wrapped=(("pythae",),))
    with pytest.raises(ValueError, match="--wrapped changes the dataset's recipe, and with --fr"):
        command.Options(wrapped=wrapped, base_run="id", axis=(("chain.seed", "1"),))


def test_values_have_the_types_of_their_settings() -> None:
    latent_dim, beta, norm, record, epochs = read(
        "model.latent_dim 2 8",
        "model.beta 1 0.5",
        "chain.batch_norm batch running",
        "chain.record 0,1 0,5",
        "training.max_images None 50",
    )
    assert (latent_dim.coordinate, list(latent_dim.values.items())) == (
        "latent_dim",
        [(2, 2), (8, 8)],
    )
    assert [type(value) for value in beta.values.values()] == [float, float]
    assert list(norm.values) == ["batch", "running"]
    assert record.values == {"0,1": (0, 1), "0,5": (0, 5)}  # a cell holds texts and numbers
    assert epochs.values == {"None": None, 50: 50}


def test_two_axes_with_the_same_last_word_keep_their_names() -> None:
    bases = {"flow_ae": base("flow_ae")}
    axes = axes_of(
        [("model.autoencoder.noise", "0", "1"), ("model.flow.transforms", "2")], bases, {}
    )
    assert [axis.coordinate for axis in axes] == ["noise", "transforms"]
    both = [("model.optimizer.learning_rate", "0.1"), ("model.autoencoder.latent_dim", "2")]
    settings = settings_to_vary(bases["flow_ae"])
    rates = [name for name in settings if name.endswith("learning_rate")]
    assert len(rates) > 1
    axes = axes_of([(name, "0.1") for name in rates], bases, {})
    assert [axis.coordinate for axis in axes] == rates
    assert both[1][0] in settings


def test_the_grid_is_the_product_and_each_cell_has_its_experiment() -> None:
    bases = {family: base(family) for family in ("vae", "aae")}
    axes = axes_of([("model.latent_dim", "2", "3"), ("training.epochs", "1", "4")], bases, {})
    values, experiment = grid_of(bases, axes, by_family=True)
    assert values == {"family": ["vae", "aae"], "latent_dim": [2, 3], "epochs": [1, 4]}
    cell = experiment({"family": "aae", "latent_dim": 3, "epochs": 4})
    assert cell == base("aae", 3, epochs=4)
    values, experiment = grid_of({"run x": bases["vae"]}, axes, by_family=False)
    assert "family" not in values
    assert experiment({"latent_dim": 2, "epochs": 1}) == base("vae", 2, epochs=1)


def test_every_chain_of_the_base_takes_the_setting() -> None:
    one = base("vae")
    two = dataclasses.replace(
        one, chains=(one.chains[0], dataclasses.replace(one.chains[0], batch_norm="running"))
    )
    assert [chain.sub_batch for chain in vary(two, {"chain.sub_batch": 7}).chains] == [7, 7]


@pytest.mark.parametrize(
    ("axis", "families", "message"),
    [
        ("model.betta 1", ("vae",), r"has no such setting; did you mean model\.beta\b"),
        ("beta 1", ("vae",), r"has no such setting; did you mean model\.beta\b"),
        ("model.qqq 1", ("vae",), r"has no such setting; .*\nThese settings .*model\.latent_dim"),
        ("data.root x", ("vae",), "has no such setting"),
        ("model.beta 1", ("vae", "aae"), "aae has no such setting, and vae has it: leave out"),
        ("model.latent_dim two", ("vae",), "must be a whole number, got model.latent_dim=two"),
        ("model.latent_dim 2.5", ("vae",), "must be a whole number"),
        ("chain.batch_norm none", ("vae",), "must be one of batch, running"),
        ("model.beta 1 1.0", ("vae",), "--axis model.beta names a value twice, got value='1.0'"),
    ],
)
def test_a_bad_axis_is_one_message(axis: str, families: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(axis, families=families)


def test_a_value_out_of_range_is_refused_by_the_config() -> None:
    (axis,) = read("model.latent_dim 0")
    with pytest.raises(ValueError, match="latent_dim must be a whole number >= 1"):
        vary(base("vae"), {axis.name: 0})


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([("model.beta",)], "--axis model.beta needs at least one value"),
        ([()], "--axis takes a name and its values"),
        ([("model.beta", "1"), ("model.beta", "2")], "--axis names model.beta twice"),
    ],
)
def test_an_axis_has_a_name_and_values_and_is_named_once(
    axes: list[tuple[str, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_axes(axes)
    with pytest.raises(ValueError, match=message):
        command.Options(axis=tuple(axes))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"families": ("vae", "vae")}, "--family names a family twice"),
        ({"latent_dim": 0}, "latent_dim must be a whole number >= 1"),
        ({"study": " "}, "--study must be a name"),
        ({"base_run": "x", "epochs": 3}, "--epochs changes the dataset's recipe"),
        ({"base_run": "x", "families": ("vae",)}, "--families changes the dataset's recipe"),
        ({"base_run": "x", "dataset": "mnist"}, "--dataset changes the dataset's recipe"),
        ({"base_run": "x", "smoke": True}, "--smoke changes"),
        ({"base_run": "x", "latent_dim": 3}, "--latent-dim changes"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        command.Options(**flags)


def test_flags_about_places_go_with_an_earlier_run() -> None:
    options = command.Options(base_run="x", data_root="/images", seeds=(1, 2), axis=(("a", "1"),))
    assert options.families == ()
    assert command.Options().families == ("vae",)


def test_a_run_without_an_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="--from needs an --axis"):
        command.main(command.Options(base_run="x"))
