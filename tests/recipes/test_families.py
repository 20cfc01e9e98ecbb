"""The table of families, and the flags --set and --noise."""

from dataclasses import replace
from typing import Any

import pytest

from genae_core.models.optimizers import AdamConfig, RMSPropConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.families import FAMILIES, PRIORS, families_to_search, family_config
from genae_core.recipes.family_settings import EXAMPLE, describe_settings, family_settings
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.search_space import check_space, search_experiment, usual_cell
from genae_core.recipes.settings import parse_setting, replace_settings
from genae_core.recipes.study import print_settings, study_experiment
from genae_core.samplers.ancestral import Ancestral


def options(*assignments: str, **flags: Any) -> StudyOptions:
    return StudyOptions(settings=(assignments,), **flags)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_row_is_a_family_that_can_be_built(name: str) -> None:
    family = FAMILIES[name]
    dim = max(2, family.smallest_latent_dim)
    config = family_config(name, dim, EXAMPLE)
    assert config.build((1, 8, 8)).latent_dim == dim
    assert set(family.priors) <= set(PRIORS)
    assert set(family.searched) <= set(family_settings(name))
    assert (family.noise == "none") == (not hasattr(config, "noise"))


def test_the_critic_of_a_dcgan_has_batch_normalisation_but_for_a_gradient_penalty() -> None:
    parts = replace(EXAMPLE, net=DCGANConfig(width=4))
    critics = {name: family_config(name, 2, parts).critic for name in ("gan", "wgan", "wgan_gp")}  # type: ignore[attr-defined]
    assert {name: critic.batch_norm for name, critic in critics.items()} == {
        "gan": True,
        "wgan": True,
        "wgan_gp": False,
    }
    assert {critic.activation for critic in critics.values()} == {"leaky_relu"}


def test_the_learning_rate_of_a_user_changes_a_familys_own_optimiser() -> None:
    chosen = replace(EXAMPLE, learning_rate=3e-4)
    wgan, vae = (family_config(name, 2, chosen).optimizer for name in ("wgan", "vae"))  # type: ignore[attr-defined]
    assert (wgan, vae) == (RMSPropConfig(learning_rate=3e-4), AdamConfig(learning_rate=3e-4))
    assert family_config("wgan", 2, EXAMPLE).optimizer == RMSPropConfig(learning_rate=5e-4)  # type: ignore[attr-defined]


def test_the_critic_of_a_began_learns_at_a_quarter_of_the_generators_rate() -> None:
    for parts, rate in ((EXAMPLE, 2e-3), (replace(EXAMPLE, learning_rate=4e-4), 4e-4)):
        config: Any = family_config("began", 2, parts)
        assert config.optimizer.learning_rate == rate
        assert config.critic_optimizer == replace(config.optimizer, learning_rate=rate / 4)


def test_a_family_without_an_encoder_is_sampled_by_draws_from_its_prior(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = options(families=("vae", "gan"))
    chain = dataset_recipe(chosen).chain()
    vae, gan = (study_experiment(chosen, name, 2, (chain,)) for name in ("vae", "gan"))
    assert vae.chains == (chain,)
    assert gan.chains == (replace(chain, sampler=Ancestral(), record=(0,)),)
    print_settings(chosen)
    assert "n/a for gan, which have no encoder" in capsys.readouterr().out


def test_a_setting_reaches_the_families_that_have_it() -> None:
    chosen = options("beta=2", "critic.dropout=0.1", families=("vae", "aae"))
    chain = dataset_recipe(chosen).chain()
    vae, aae = (study_experiment(chosen, name, 2, (chain,)).model for name in ("vae", "aae"))
    assert isinstance(vae, VAEConfig) and vae.beta == 2.0
    assert aae.critic.dropout == 0.1  # type: ignore[attr-defined]
    assert describe_settings(chosen.assignments, chosen.families) == [
        "set:    beta=2 for vae (not a setting of aae)",
        "set:    critic.dropout=0.1 for aae (not a setting of vae)",
    ]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("betta=2", r"no chosen family has the setting betta; did you mean beta\?"),
        ("flow.transforms=3", "families that have it: flow_ae, flow_ae_spline"),
        ("latent_dim=3", "no chosen family has the setting latent_dim"),
        ("beta=high", "beta must be a number, got beta=high"),
        ("beta=-1", "beta must be a finite number >= 0, got beta=-1.0"),
        ("corruptions=1.5", "corruptions must be a whole number"),
        ("posterior=point", "posterior must be one of deterministic, gaussian, universal"),
        ("critic.widths=8,x", "critic.widths must be one or more values joined by commas"),
        ("beta", "--set takes NAME=VALUE"),
    ],
)
def test_a_bad_setting_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options(assignment)


def test_the_message_lists_the_settings_of_the_chosen_families() -> None:
    with pytest.raises(ValueError, match="vae: beta, corruptions\n  ex_post_ae: .*components"):
        options("unknown=1", families=("vae", "ex_post_ae"))


def test_the_codes_of_an_info_gan_are_settings() -> None:
    chosen = options("prior.classes=20", "prior.continuous=1", families=("info_gan",))
    chain = dataset_recipe(chosen).chain()
    model: Any = study_experiment(chosen, "info_gan", 22, (chain,)).model
    assert (model.prior.classes, model.prior.continuous) == (20, 1)
    with pytest.raises(ValueError, match="it must be >= 22, got latent_dim=21"):
        study_experiment(chosen, "info_gan", 21, (chain,))


def test_a_setting_is_named_once() -> None:
    with pytest.raises(ValueError, match="--set names beta twice"):
        options("beta=1", "beta=2")


def test_noise_without_a_family_that_takes_it_is_refused() -> None:
    with pytest.raises(ValueError, match="--noise is only for dvae, daae"):
        StudyOptions(noise=0.3, families=("vae", "flow_ae"))
    assert StudyOptions(noise=0.3).noise == 0.3
    assert StudyOptions(families=("vae",)).noise is None


def test_a_search_does_not_vary_a_setting_with_a_value() -> None:
    chosen = options("beta=0.5", families=("vae",))
    cell = usual_cell(chosen, "vae", 4)
    assert "beta" not in cell
    assert search_experiment(chosen, cell).model.beta == 0.5  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="several corruptions"):
        check_space(options("corruptions=2", families=("dvae",)))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("1e-3", float, 1e-3),
        ("None", float | None, None),
        ("0.5", float | None, 0.5),
        ("False", bool, False),
        ("8,16", tuple[int, ...], (8, 16)),
        ("a path", str | None, "a path"),
    ],
)
def test_a_text_is_read_as_the_type_of_the_field(text: str, kind: Any, value: Any) -> None:
    assert parse_setting("name", text, kind) == value


def test_settings_that_belong_together_are_changed_together() -> None:
    config = VAEConfig(latent_dim=2, noise=0.5)
    changed = replace_settings(config, {"corruptions": 3, "net.widths": (4, 4)})
    assert changed == VAEConfig(
        latent_dim=2,
        noise=0.5,
        corruptions=3,
        net=replace_settings(config.net, {"widths": (4, 4)}),
    )
    with pytest.raises(ValueError, match="VAEConfig has no such setting"):
        replace_settings(config, {"weight": 1})


def test_a_search_leaves_out_families_that_need_more_dimensions_than_it_proposes() -> None:
    assert "info_gan" not in families_to_search() and "gan" in families_to_search()
    with pytest.raises(ValueError, match="dimensions from 4 on, .* families=\\['info_gan'\\]"):
        check_space(options(families=("gan", "info_gan")))
    with pytest.raises(ValueError, match="it must be >= 13, got latent_dim=12"):
        family_config("info_gan", 12, EXAMPLE)
    family_config("info_gan", FAMILIES["info_gan"].smallest_latent_dim, EXAMPLE)
