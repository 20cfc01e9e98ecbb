"""The default training and chains for each dataset, and their shorter form for a smoke run."""

from dataclasses import dataclass, replace
from typing import Any

from genae_core.config import require
from genae_core.data.arrays import ArraysConfig
from genae_core.data.base import DataConfig
from genae_core.data.digits import DigitsConfig
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.shards import read_manifest
from genae_core.data.storage import Folder
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.dcgan import DCGANConfig, is_dcgan_side
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.recipes.dataset_configs import ImageSettings, dataset_config
from genae_core.recipes.dataset_names import OWN_IMAGES
from genae_core.recipes.options import DataOptions
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training and the chains of a dataset.

    Args:
        data: The dataset.
        net: The encoder and the decoder.
        critic: The critic of adversarial families.
        optimizer: Adam for the reconstruction or the ELBO.
        training: The length and the batch size of the training.
        classifier: The classifier whose features the FCD compares.
        latent_dims: The latent dimensions that a study of them compares.
        record: The steps at which chains are measured.
        sub_batch: The number of chains that run together.
        num_chains: The number of chains of a trial; None uses as many as the reference images
            allow.
    """

    data: DataConfig
    net: NetConfig
    critic: CriticConfig
    optimizer: AdamConfig
    training: TrainingConfig
    classifier: ClassifierConfig
    latent_dims: tuple[int, ...]
    record: tuple[int, ...] = (0, 1, 2, 5, 10)
    sub_batch: int
    num_chains: int | None = None

    def chain(self, **changes: Any) -> ChainConfig:
        """The config of the recipe's encode/decode chain, with these fields changed."""
        usual = ChainConfig(
            sampler=EncodeDecode(),
            record=self.record,
            sub_batch=self.sub_batch,
            num_chains=self.num_chains,
        )
        return replace(usual, **changes)


def dataset_recipe(options: DataOptions) -> Recipe:
    """The recipe of the chosen dataset.

    Args:
        options: The flags about data. With --smoke the recipe takes only a few minutes.

    Returns:
        The recipe.

    Raises:
        ValueError: The flags do not fit the dataset.
    """
    recipe = _recipe_of_dataset(options)
    classifier, training = recipe.classifier, recipe.classifier.training
    if options.classifier_epochs is not None:
        training = replace(training, epochs=options.classifier_epochs)
    classifier = replace(classifier, training=training)
    if options.classifier_width is not None:
        classifier = replace(classifier, feature_width=options.classifier_width)
    return replace(recipe, classifier=classifier)


def _recipe_of_dataset(options: DataOptions) -> Recipe:
    """The recipe of the chosen dataset, without the flags about the classifier."""
    if options.dataset == "digits":
        for flag in ("data_root", "size", "grey", "crop"):
            value = getattr(options, flag)
            require(
                value is None or value is False,
                f"digits takes no --{flag.replace('_', '-')}: it comes with scikit-learn",
                **{flag: value},
            )
        return smoke_digits(DIGITS) if options.smoke else DIGITS
    root = options.data_root or options.shards
    if root is None:
        raise ValueError(
            f"--dataset {options.dataset} needs files: give --data-root FOLDER, or --shards FOLDER"
        )
    settings = ImageSettings(
        size=options.size,
        grey=options.grey,
        crop=options.crop,
        split_seed=options.split_seed,
        download=options.download,
    )
    if options.dataset == "arrays" and options.shards is not None:
        data: DataConfig = _arrays_in_shards(root, options.shards, settings)
    else:
        data = dataset_config(options.dataset, root, settings)
    return recipe_of(data, options.smoke)


def _arrays_in_shards(root: str, shards: str, settings: ImageSettings) -> ArraysConfig:
    """The config of arrays that were prepared; the files themselves may be gone.

    Raises ValueError if the shards hold images of another size or colour.
    """
    shape = read_manifest(Folder(shards)).shape
    require(
        settings.size in (None, shape[1])
        and not (settings.grey and shape[0] != 1)
        and settings.crop is None,
        f"{shards} holds images of shape {shape}: leave out --size and --grey and --crop, or "
        "prepare them again",
        size=settings.size,
        grey=settings.grey,
        crop=settings.crop,
    )
    return ArraysConfig(root=root, shape=shape, split_seed=settings.split_seed)


def recipe_of(data: DataConfig, smoke: bool = False) -> Recipe:
    """The recipe for a dataset, which the shape of its images decides.

    Args:
        data: The config of the dataset.
        smoke: Whether the recipe takes only a few minutes.

    Returns:
        The recipe.
    """
    is_own = data.name in OWN_IMAGES
    if is_small_grey(data.shape):
        recipe = small_grey_images(data, batch_size=32 if is_own else 200)
        if not smoke:
            return recipe
        return smoke_own_images(recipe) if is_own else smoke_small_grey_images(recipe)
    recipe = colour_images(data, batch_size=32 if is_own else 64)
    if not smoke:
        return recipe
    if is_own:
        return smoke_own_images(smoke_colour_images(recipe, batch_size=16))
    # Two epochs suffice for CelebA's attributes.
    return smoke_colour_images(recipe, classifier_epochs=2 if data.name == "celeba" else 15)


def is_small_grey(shape: Shape) -> bool:
    """Whether images are trained as MNIST's are: grey, and of 32 px or less."""
    return shape[0] == 1 and shape[1] <= 32


def net_of(shape: Shape) -> NetConfig:
    """The networks for images of a shape: MNIST's for small grey ones, else a DCGAN, which not
    every size allows."""
    if is_small_grey(shape) or not is_dcgan_side(shape[1]):
        return MLPConfig()
    return DCGANConfig(width=64)


DIGITS = Recipe(
    data=DigitsConfig(),
    net=MLPConfig(widths=(256, 256)),
    critic=CriticConfig(),
    optimizer=AdamConfig(),
    training=TrainingConfig(epochs=80, batch_size=50),
    classifier=ClassifierConfig(
        optimizer=AdamConfig(learning_rate=3e-3),
        training=TrainingConfig(epochs=60, batch_size=50, decay="linear"),
    ),
    latent_dims=(2, 8, 32),
    sub_batch=120,
)


def smoke_digits(recipe: Recipe) -> Recipe:
    """Fewer epochs and latent dimensions."""
    return replace(recipe, training=replace(recipe.training, epochs=10), latent_dims=(2, 8))


def small_grey_images(data: DataConfig, batch_size: int) -> Recipe:
    """Fully connected networks, as for binarised MNIST, and at most ten epochs.

    This follows Sridhar & Srivastava, section 5, except that the critic has no dropout.
    """
    return Recipe(
        data=data,
        net=net_of(data.shape),
        critic=CriticConfig(dropout=0.0),
        optimizer=AdamConfig(),
        training=TrainingConfig(epochs=8, batch_size=batch_size),
        classifier=ClassifierConfig(
            kernel_size=5,
            dropout=0.25,
            training=TrainingConfig(epochs=12, batch_size=min(batch_size, 100), decay="linear"),
        ),
        latent_dims=(2, 10, 50, 200),
        record=(0, 1, 2, 3, 5, 7, 10, 15, 20),
        sub_batch=500,
    )


def smoke_small_grey_images(recipe: Recipe) -> Recipe:
    """One epoch of a tenth of the images, and fewer chains and steps."""
    classifier = recipe.classifier
    return replace(
        recipe,
        training=replace(recipe.training, epochs=1, max_images=6000),
        classifier=replace(classifier, training=replace(classifier.training, epochs=1)),
        latent_dims=(10,),
        record=(0, 1, 2, 5, 10),
        num_chains=2000,
    )


def colour_images(data: DataConfig, batch_size: int) -> Recipe:
    """A DCGAN: 20 epochs with Adam at 2e-4, beta1 0.5.

    This follows Creswell et al. 2017, section 4.3.
    """
    return Recipe(
        data=data,
        net=net_of(data.shape),
        critic=CriticConfig(),
        optimizer=AdamConfig(learning_rate=2e-4, beta1=0.5),
        training=TrainingConfig(epochs=20, batch_size=batch_size),
        classifier=ClassifierConfig(
            channels=_classifier_channels(data.shape[1]),
            training=TrainingConfig(epochs=10, batch_size=32, decay="linear"),
        ),
        latent_dims=(50, 100, 200),
        sub_batch=100,
    )


def _classifier_channels(side: int) -> tuple[int, ...]:
    """The classifier's channels for images of `side` px, which it halves to 4 to 7 px.

    >>> [_classifier_channels(side) for side in (28, 32, 64)]
    [(64, 64), (32, 64, 64), (16, 32, 64, 64)]
    """
    halvings = max(1, side.bit_length() - 3)
    return (4, 8, 16, 32, 64, 64)[-min(halvings, 6) :]


def smoke_colour_images(
    recipe: Recipe, batch_size: int = 32, classifier_epochs: int = 15
) -> Recipe:
    """Fewer images and epochs, and a narrower network with a larger learning rate.

    The images are then recognisable within minutes.
    """
    classifier = recipe.classifier
    return replace(
        recipe,
        net=DCGANConfig(width=16) if isinstance(recipe.net, DCGANConfig) else recipe.net,
        optimizer=replace(recipe.optimizer, learning_rate=1e-3),
        training=replace(recipe.training, epochs=6, batch_size=batch_size, max_images=1600),
        classifier=replace(
            classifier,
            training=replace(
                classifier.training,
                epochs=classifier_epochs,
                batch_size=batch_size,
                max_images=6000,
            ),
        ),
        latent_dims=(50,),
        num_chains=200,
    )


def smoke_own_images(recipe: Recipe) -> Recipe:
    """Small batches, as many chains as the images allow, and 2,400 images of a folder."""
    data, classifier = recipe.data, recipe.classifier
    if isinstance(data, ImageFolderConfig):
        data = replace(data, max_images=2400)
    return replace(
        recipe,
        data=data,
        training=replace(recipe.training, epochs=6, batch_size=16, max_images=1600),
        classifier=replace(
            classifier,
            training=replace(classifier.training, epochs=15, batch_size=16, max_images=6000),
        ),
        latent_dims=(10,) if is_small_grey(data.shape) else recipe.latent_dims,
        record=(0, 1, 2, 5, 10),
        num_chains=None,
    )
