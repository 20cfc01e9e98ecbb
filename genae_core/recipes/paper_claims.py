"""The papers whose claims claims.py decides, each with the models that its sweep trains."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from genae_core.config import require
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.claim_cells import ClaimModel, claim_experiment
from genae_core.recipes.claim_runs import StoredClaim, models_of
from genae_core.recipes.creswell_claims import CRESWELL
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.families import PAPER
from genae_core.recipes.makhzani_claims import MAKHZANI, MAKHZANI_MODELS
from genae_core.recipes.options import Paper, StudyOptions
from genae_core.recipes.slides_claims import SLIDES, SLIDES_MODELS
from genae_core.recipes.sridhar_claims import SRIDHAR, SRIDHAR_MODELS
from genae_core.samplers.ancestral import Ancestral


class PaperClaims(NamedTuple):
    """The claims of a paper, and the sweep that makes their runs.

    Attributes:
        claims: The claims.
        models: The models that the sweep can train, by the name that claims and cells have.
        axis: The coordinate of a cell that names its model.
        latent_dims: The latent dimensions that the sweep compares; empty if models have their own.
        has_chain: Whether the published chain is measured, and not only draws.
    """

    claims: tuple[StoredClaim, ...]
    models: Mapping[str, ClaimModel]
    axis: str = "model"
    latent_dims: tuple[int, ...] = ()
    has_chain: bool = False


PAPERS: dict[Paper, PaperClaims] = {
    "creswell": PaperClaims(
        claims=CRESWELL,
        models={name: ClaimModel(family=name) for name in PAPER},
        axis="family",
        latent_dims=(10, 200),
        has_chain=True,
    ),
    "makhzani": PaperClaims(claims=MAKHZANI, models=MAKHZANI_MODELS),
    "sridhar": PaperClaims(claims=SRIDHAR, models=SRIDHAR_MODELS, latent_dims=(10,)),
    "slides": PaperClaims(claims=SLIDES, models=SLIDES_MODELS, latent_dims=(10,)),
}


def claims_of(paper: Paper, names: Sequence[str]) -> list[StoredClaim]:
    """The claims of a paper with these names; all of them without a name.

    Raises ValueError if one of them is a claim of another paper.
    """
    claims = {one.claim.name: one for one in PAPERS[paper].claims}
    others = [name for name in names if name not in claims]
    require(not others, f"the claims of {paper} are {', '.join(claims)}", claims=others)
    return [one for name, one in claims.items() if not names or name in names]


def claim_axes(
    paper: Paper, claims: Sequence[StoredClaim], options: StudyOptions, dims: Sequence[int] | None
) -> dict[str, Sequence[str | int]]:
    """The axes of the sweep that claims need.

    Args:
        paper: The paper.
        claims: The claims.
        options: The study's flags; only models of its families are trained.
        dims: The latent dimensions; None takes those of the paper.

    Raises:
        ValueError: The claims are about no model that the sweep can train, or its models have
            their own latent dimensions.
    """
    one = PAPERS[paper]
    names = [
        name
        for name in models_of(claims)
        if name in one.models and one.models[name].family in options.families
    ]
    require(
        bool(names),
        "this study trains no model of --families for these claims; give --from-sweep, or --rows "
        "for tables that keep no runs",
        claims=[claim.claim.name for claim in claims],
        families=options.families,
    )
    if not one.latent_dims:
        require(
            dims is None,
            f"each model of --paper {paper} has its own latent dimension: leave out --latent-dims",
            latent_dims=dims,
        )
        return {one.axis: names}
    return {one.axis: names, "latent_dim": one.latent_dims if dims is None else tuple(dims)}


def families_of(paper: Paper, names: Sequence[str | int]) -> tuple[str, ...]:
    """The families of a paper's models with these names, each once."""
    models = PAPERS[paper].models
    return tuple(dict.fromkeys(models[str(name)].family for name in names))


def paper_experiment(paper: Paper, params: Mapping[str, Any], options: StudyOptions) -> Experiment:
    """The experiment of a cell of the sweep.

    Args:
        paper: The paper.
        params: The cell: a value for each axis of `claim_axes`.
        options: The study's flags.
    """
    one, recipe = PAPERS[paper], dataset_recipe(options)
    draws = {} if one.has_chain else _draws()
    model = one.models[params[one.axis]]
    return claim_experiment(options, model, params.get("latent_dim", 0), recipe.chain(**draws))


def _draws() -> dict[str, Any]:
    return {"sampler": Ancestral(), "batch_norm": "running", "record": (0,)}
