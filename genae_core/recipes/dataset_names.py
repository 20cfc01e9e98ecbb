"""The datasets by the names that they have on the command line. Nothing is imported for a help."""

from typing import Literal

FileDataset = Literal[
    "mnist",
    "fashion_mnist",
    "kmnist",
    "emnist_balanced",
    "emnist_byclass",
    "emnist_bymerge",
    "emnist_digits",
    "emnist_letters",
    "emnist_mnist",
    "cifar10",
    "cifar100",
    "svhn",
    "celeba",
    "image_folder",
    "arrays",
    "huggingface",
]
OWN_IMAGES = ("image_folder", "arrays", "huggingface")  # of a user, and so perhaps few
