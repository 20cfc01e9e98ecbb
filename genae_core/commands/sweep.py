"""Train and sample a grid of models around a base experiment, without writing Python.

The base is the dataset's recipe for each family, or the experiment of an earlier run. Each --axis
names a setting and the values that it takes: of the model (model.latent_dim, model.beta), of the
training (training.epochs), or of the chains (chain.batch_norm).

  genae sweep --axis model.latent_dim 2 8 32 --family vae aae
  genae sweep --dataset mnist --data-root DIR --axis model.latent_dim 2 8 --axis model.beta 0.5 1 4
  genae sweep --from RUN_ID --axis training.epochs 10 20 40 --seeds 0 1 2
  genae sweep --wrapped pythae FOLDER --axis chain.batch_norm batch running
"""

from dataclasses import dataclass, fields, replace
from typing import Annotated

import tyro

import genae_core as genae
from genae_core import data, recipes, sweep
from genae_core.config import require, require_positive_int
from genae_core.recipes.families import FAMILIES
from genae_core.recipes.options import DataOptions, FamilyName, StudyOptions, WrappedOptions

DEFAULT_FAMILY = "vae"


@dataclass(frozen=True, kw_only=True)
class Options(WrappedOptions, StudyOptions):
    """The flags of this command."""

    axis: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.arg(metavar="NAME VALUE [VALUE ...]"),
        tyro.conf.UseAppendAction,
    ] = ()
    """A setting and the values to compare. Give the flag once for each axis."""
    families: Annotated[tuple[FamilyName, ...], tyro.conf.arg(aliases=["--family"])] = ()
    """Model families to compare (default: vae; none with --wrapped; with --from, the run's)."""
    latent_dim: int | None = None
    """Latent dimension of the base (default: the middle one of the dataset's recipe)."""
    base_run: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Id of an MLflow run whose experiment is the base (default: the dataset's recipe)."""
    study: str = "sweep"
    """Name of the study, which is also the name of the MLflow experiment."""

    def __post_init__(self) -> None:
        if self.base_run is None and not self.families and not self.wrapped:
            object.__setattr__(self, "families", (DEFAULT_FAMILY,))
        super().__post_init__()
        recipes.check_axes(self.axis)
        require(bool(self.study.strip()), "--study must be a name", study=self.study)
        require(
            len(set(self.families)) == len(self.families),
            "--family names a family twice",
            family=self.families,
        )
        if self.latent_dim is not None:
            require_positive_int(latent_dim=self.latent_dim)
        if self.base_run is not None:
            self._refuse_flags_of_the_recipe()

    def _refuse_flags_of_the_recipe(self) -> None:
        """Raise ValueError if a flag would change the experiment of --from."""
        owners = (StudyOptions, DataOptions, WrappedOptions)
        names = {name for owner in owners for name in owner.__annotations__} | {"latent_dim"}
        for field in fields(self):
            if field.name in names - {"data_root"} and getattr(self, field.name) != field.default:
                flag = {"settings": "set"}.get(field.name, field.name).replace("_", "-")
                raise ValueError(
                    f"--{flag} changes the dataset's recipe, and with --from the base is the "
                    "run's experiment: leave it out, or vary the setting with --axis"
                )


def main(options: Options) -> int:
    """Run the grid of the axes over the base."""
    run = options.base_run
    if run is not None:
        require(len(options.axis) > 0, "--from needs an --axis to vary", axis=options.axis)
        bases = {f"run {run}": _base_of_run(run, options)}
        unused: dict[str, tuple[str, ...]] = {}
    else:
        bases = _bases_of_recipe(options)
        unused = {name: FAMILIES[name].unused for name in options.families}
    axes = recipes.axes_of(options.axis, bases, unused)
    values, experiment = recipes.grid_of(bases, axes, by_family=run is None)
    recipes.print_settings(options)
    return sweep.launch(options.study, values, experiment, options)


def _bases_of_recipe(options: Options) -> "dict[str, genae.Experiment]":
    """The base experiment of each family."""
    recipe = recipes.dataset_recipe(options)
    dims = recipe.latent_dims
    dim = options.latent_dim or dims[(len(dims) - 1) // 2]
    bases = {
        family: recipes.study_experiment(options, family, dim, (recipe.chain(),))
        for family in options.families
    }
    for family, model in recipes.wrapped_models(options, recipe).items():
        chain = recipe.chain() if model.has_encoder else recipes.ancestral_chains(recipe)[0].chain
        bases[family] = recipes.wrapped_experiment(recipe, model, (chain,))
    return bases


def _base_of_run(run: str, options: Options) -> "genae.Experiment":
    """The experiment of the run of --from, with its files where they are now."""
    base = recipes.fetch_experiment(run, options.tracking_uri)
    model = base.model
    print(f"base:   run {run}: {model.family} {model.latent_dim} on {base.data.name}")
    if options.shards is not None:
        return base
    return replace(base, data=data.choose_root(base.data, options.data_root))
