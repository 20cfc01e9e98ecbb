"""The default training and chains for each dataset, and their shorter form for a smoke run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from genae_core.config import require
from genae_core.data.base import DataConfig
from genae_core.data.celeba import CelebAConfig
from genae_core.data.digits import DigitsConfig
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.mnist import MNISTConfig
from genae_core.data.svhn import SVHNConfig
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.models.base import AdamConfig
from genae_core.nets.base import NetConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
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
        require(
            options.data_root is None,
            "digits takes no --data-root: it comes with scikit-learn",
            data_root=options.data_root,
        )
        return smoke_digits(DIGITS) if options.smoke else DIGITS
    root = options.data_root or options.shards
    if root is None:
        raise ValueError(
            f"--dataset {options.dataset} needs files: give --data-root FOLDER, or --shards FOLDER"
        )
    full, smoke = IMAGE_FILES[options.dataset]
    recipe = full(options, root)
    return smoke(recipe) if options.smoke else recipe


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


def mnist(options: DataOptions, root: str) -> Recipe:
    """Binarised MNIST with fully connected networks, at most ten epochs.

    This follows Sridhar & Srivastava, section 5, except that the critic has no dropout.
    """
    return Recipe(
        data=MNISTConfig(root=root, download=options.download),
        net=MLPConfig(),
        critic=CriticConfig(dropout=0.0),
        optimizer=AdamConfig(),
        training=TrainingConfig(epochs=8, batch_size=200),
        classifier=ClassifierConfig(
            kernel_size=5,
            dropout=0.25,
            training=TrainingConfig(epochs=12, batch_size=100, decay="linear"),
        ),
        latent_dims=(2, 10, 50, 200),
        record=(0, 1, 2, 3, 5, 7, 10, 15, 20),
        sub_batch=500,
    )


def smoke_mnist(recipe: Recipe) -> Recipe:
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


def colour_images(data: DataConfig, batch_size: int = 64) -> Recipe:
    """Colour images of 64 px: 20 epochs with Adam at 2e-4, beta1 0.5.

    This follows Creswell et al. 2017, section 4.3.
    """
    return Recipe(
        data=data,
        net=DCGANConfig(width=64),
        critic=CriticConfig(),
        optimizer=AdamConfig(learning_rate=2e-4, beta1=0.5),
        training=TrainingConfig(epochs=20, batch_size=batch_size),
        classifier=ClassifierConfig(
            channels=(16, 32, 64, 64),
            training=TrainingConfig(epochs=10, batch_size=32, decay="linear"),
        ),
        latent_dims=(50, 100, 200),
        sub_batch=100,
    )


def smoke_colour_images(
    recipe: Recipe, batch_size: int = 32, classifier_epochs: int = 15
) -> Recipe:
    """Fewer images and epochs, and a narrower network with a larger learning rate.

    The images are then recognisable within minutes.
    """
    classifier = recipe.classifier
    return replace(
        recipe,
        net=DCGANConfig(width=16),
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


def svhn(options: DataOptions, root: str) -> Recipe:
    """SVHN, enlarged to 64 px."""
    return colour_images(SVHNConfig(root=root, size=64, download=options.download))


def celeba(options: DataOptions, root: str) -> Recipe:
    """CelebA's faces at 64 px."""
    data = CelebAConfig(
        root=root, size=64, split_seed=options.split_seed, download=options.download
    )
    return colour_images(data)


def smoke_celeba(recipe: Recipe) -> Recipe:
    """As for other colour images, with two epochs for the classifier, which then suffice."""
    return smoke_colour_images(recipe, classifier_epochs=2)


def image_folder(options: DataOptions, root: str) -> Recipe:
    """A user's own images. They may be few, so the batches are smaller."""
    data = ImageFolderConfig(root=root, size=64, split_seed=options.split_seed)
    return colour_images(data, batch_size=32)


def smoke_image_folder(recipe: Recipe) -> Recipe:
    """The first 2,400 images, and still smaller batches."""
    small = smoke_colour_images(recipe, batch_size=16)
    assert isinstance(recipe.data, ImageFolderConfig)
    return replace(small, data=replace(recipe.data, max_images=2400), num_chains=None)


# The recipe of each dataset that is read from files, and the function that shortens it in a smoke
# run.
IMAGE_FILES: dict[str, tuple[Callable[[DataOptions, str], Recipe], Callable[[Recipe], Recipe]]] = {
    "mnist": (mnist, smoke_mnist),
    "svhn": (svhn, smoke_colour_images),
    "celeba": (celeba, smoke_celeba),
    "image_folder": (image_folder, smoke_image_folder),
}
