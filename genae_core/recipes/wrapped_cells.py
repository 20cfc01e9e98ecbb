"""The models of --wrapped, which other packages have trained, as cells of a study."""

from genae_core.config import require
from genae_core.experiment.experiment import Experiment
from genae_core.models.wrapped_checkpoint import WrappedConfig, wrapped_config
from genae_core.recipes.chain_samplers import LabelledChain
from genae_core.recipes.datasets import Recipe
from genae_core.recipes.options import WrappedOptions
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig
from genae_core.sweep.runs import chain_label


def wrapped_models(options: WrappedOptions, recipe: Recipe) -> dict[str, WrappedConfig]:
    """The configs of the models of --wrapped, each loaded once.

    Args:
        options: The flags.
        recipe: The dataset's recipe, for whose images the models must be.

    Returns:
        The configs by the names of their families.

    Raises:
        ValueError: A model cannot be loaded, or two have the same name.
    """
    models: dict[str, WrappedConfig] = {}
    for loader, checkpoint, *name in options.wrapped:
        model = wrapped_config(checkpoint, loader, recipe.data.shape, *name)
        require(
            model.family not in models,
            "two models of --wrapped have the same name; give each its own as the third word",
            name=model.name,
        )
        models[model.family] = model
        print(f"model:  {model.family}, sha256 {model.sha256[:12]}, is not trained: {checkpoint}")
    return models


def wrapped_experiment(
    recipe: Recipe, model: WrappedConfig, chains: tuple[ChainConfig, ...]
) -> Experiment:
    """The experiment of a cell whose model is not trained.

    Args:
        recipe: The dataset's recipe.
        model: The config of the model.
        chains: The configs of its chains.
    """
    return Experiment(
        data=recipe.data, model=model, training=None, chains=chains, classifier=recipe.classifier
    )


def ancestral_chains(recipe: Recipe) -> list[LabelledChain]:
    """What can be run over a decoder alone: draws from its prior, with either normalisation.

    They have no step but 0, because every step would be a new draw.
    """
    chains = (
        recipe.chain(sampler=Ancestral(), batch_norm="batch", record=(0,)),
        recipe.chain(sampler=Ancestral(), batch_norm="running", record=(0,)),
    )
    return [LabelledChain(chain_label(chain), chain) for chain in chains]
