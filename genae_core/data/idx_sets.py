"""The datasets in idx files with MNIST's names and shapes: their files, digests and classes."""

import re
import string
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from genae_core.data.mnist_files import SHA256
from genae_core.data.official_files import Layout

# The four files under MNIST's names, which are the keys of all digests here.
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MNISTS_NAMES: Mapping[str, str] = MappingProxyType({name: name for name in (*TRAIN, *TEST)})
NO_DIGESTS: Mapping[str, str] = MappingProxyType({})


def official_name(name: str) -> str:
    """The official spelling of a file's name."""
    return re.sub(r"[.-]idx(\d)[.-]ubyte$", r"-idx\1-ubyte", name.removesuffix(".gz"))


class IdxSet(NamedTuple):
    """A dataset in four idx files.

    Attributes:
        name: Its name in genae.
        title: Its own name.
        counts: The official numbers of training and test images.
        classes: The names of the classes.
        first_label: The number of the first class in the files.
        unpacked: The sha256 (hex) of each unpacked file, by MNIST's name of the file.
        packed: The md5 or sha256 (hex) of each file as its makers packed it.
        names: The set's own name of each file, by MNIST's name.
        folder: The usual folder, relative to the data root.
        transposed: Whether the files hold columns in place of rows.
    """

    name: str
    title: str
    counts: tuple[int, int]
    classes: tuple[str, ...]
    first_label: int = 0
    unpacked: Mapping[str, str] = NO_DIGESTS
    packed: Mapping[str, str] = NO_DIGESTS
    names: Mapping[str, str] = MNISTS_NAMES
    folder: str = ""
    transposed: bool = False

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Where the files lie under their own names, and under MNIST's."""
        # A packed file is read first where only its digest is known.
        endings = ("", ".gz") if self.unpacked else (".gz", "")
        name = self.name.partition("_")[0] if self.name.startswith("emnist") else self.name
        own = Layout(
            name=name,
            folders=(self.folder, f"{name}/{self.folder}"),
            files=tuple(self.names.values()),
            endings=endings,
            official_name=official_name,
        )
        mnist = own._replace(folders=("MNIST/raw", "mnist/MNIST/raw"), files=tuple(self.names))
        return (own,) if own.files == mnist.files else (own, mnist)


DIGITS = tuple("0123456789")
MNIST = IdxSet(
    name="mnist",
    title="MNIST",
    counts=(60_000, 10_000),
    classes=DIGITS,
    unpacked=MappingProxyType(SHA256),
    folder="MNIST/raw",
)
FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    title="Fashion-MNIST",
    counts=(60_000, 10_000),
    classes=(
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    unpacked=MappingProxyType(
        {
            "train-images-idx3-ubyte": (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
            ),
            "train-labels-idx1-ubyte": (
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
            ),
            "t10k-images-idx3-ubyte": (
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
            ),
            "t10k-labels-idx1-ubyte": (
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
            ),
        }
    ),
    folder="FashionMNIST/raw",
)
KMNIST = IdxSet(
    name="kmnist",
    title="KMNIST",
    counts=(60_000, 10_000),
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    packed=MappingProxyType(
        {
            "train-images-idx3-ubyte": "bdb82020997e1d708af4cf47b453dcf7",
            "train-labels-idx1-ubyte": "e144d726b3acfaa3e44228e80efcd344",
            "t10k-images-idx3-ubyte": "5c965bf0a639b31b8f53240b1b52f4d7",
            "t10k-labels-idx1-ubyte": "7320c461ea6c1c855c0b718fb2a4b134",
        }
    ),
    folder="KMNIST/raw",
)

Subset = Literal["balanced", "byclass", "bymerge", "digits", "letters", "mnist"]
LETTERS = (*string.ascii_uppercase,)
MERGED = (*string.digits, *string.ascii_uppercase, *"abdefghnqrt")
# The numbers of training and test images, the classes, and the number of the first class.
SUBSETS: dict[str, tuple[tuple[int, int], tuple[str, ...], int]] = {
    "balanced": ((112_800, 18_800), MERGED, 0),
    "byclass": ((697_932, 116_323), (*string.digits, *string.ascii_letters.swapcase()), 0),
    "bymerge": ((697_932, 116_323), MERGED, 0),
    "digits": ((240_000, 40_000), (*string.digits,), 0),
    "letters": ((124_800, 20_800), LETTERS, 1),
    "mnist": ((60_000, 10_000), (*string.digits,), 0),
}
# The sha256 of the packed files of NIST's archive, in the order of TRAIN and TEST.
EMNIST_PACKED: dict[str, tuple[str, str, str, str]] = {
    "balanced": (
        "74295e75e4e9fa2c102147460ee7eb763653d5132d883a84fb88932bfb8d2db4",
        "b46d41e5156a0a8aaaa4d18979fdd1588850fa8571018acffd5d93b325a7d6ed",
        "117fc12b015e37ea98bfb2cbba3f77c3782c056cdbd219b87abfc8661d7135db",
        "a67cac948379b67270b9a4d0a01c8ec661598accf2f2b1964340b7c83cb175cd",
    ),
    "byclass": (
        "9e21987f03a6eb8b870187e785883ddad96947299587908f1a7ec2ca0f4be5f0",
        "f7ef403d48dc18a89dae0d83d11ee69cecb6e1c12c3a961d03712e495c02a8fa",
        "5ec835bd5d5b1a66378a132e727fef20fe994b3cc666899befcca5ac766f50cd",
        "501e305eeeacb093b162592d80e8a2632040872360fa6d85cfcb2200d91ca92a",
    ),
    "bymerge": (
        "39bf8c68037dad40db35348895f7e4e056e8c0a005ab78869c9fbc2c96e947be",
        "2c47293b9e62d6abf6ad05fbf67e40baa32adfd380b8d7b44dcc35534b64e1f1",
        "5e5815ec1b522089134435f7c55e75a00960b58414793593ffff23efc0821683",
        "8bda1516255683ba9071e141947ca0c91a911176065cdd6259b0b4d8dc5b5f35",
    ),
    "digits": (
        "f7c95004d14d81af89522e67d8f0c781dfb3bd544181c81bfe1eb6b41c35b726",
        "6638a6ff5fe2eefd9cca2471995b46c82986b8e4b2a70d2f5ce8e05d7edb319e",
        "20ebe43509264f7639d37c835a3f0b009e90b29e00a099a03101abe1644a3f63",
        "bad1834c45d5988e270b99d43b13edc3fd898f658ffbc2caf2846ef27f7b05b0",
    ),
    "letters": (
        "6288f418a917e007bf5fddb823a2dc7a5c6a35031401b93292a539cb12bd881f",
        "9759af91ea6bccdf07a6040fd085861f2ec88e37f7c3f5760f6feb57106fbe5c",
        "50f0e93d75b99b463e9760b8345866f22587fa2c2fba472730a5ba09c693412d",
        "924955c31fe7fd809b7303b5c0141282955f4b8390c74cdfd5d80435e0f4b4cb",
    ),
    "mnist": (
        "5f9942f441031c0f1f2e4d162059fd6e19ea808b34c328b6d16cab0ed24c78f2",
        "00c6d3c2342fdffb1711e0b5656cac4ce5862d2826399d383a9bac07d612e9f8",
        "b25640fa9e356c618132f5df347c95ef5bae6d9c2596be1de40f7e0ae1c3eac6",
        "bcc5385d38f083dba046f5f756e99b32f5ea7fad122c6243c71c2239873065ca",
    ),
}


def _emnist_subset(subset: str) -> IdxSet:
    """The description of a subset's files."""
    counts, classes, first_label = SUBSETS[subset]
    names = {name: f"emnist-{subset}-{name.replace('t10k', 'test')}" for name in (*TRAIN, *TEST)}
    return IdxSet(
        name=f"emnist_{subset}",
        title=f"EMNIST's subset {subset}",
        counts=counts,
        classes=classes,
        first_label=first_label,
        packed=MappingProxyType(dict(zip((*TRAIN, *TEST), EMNIST_PACKED[subset], strict=True))),
        names=MappingProxyType(names),
        folder="EMNIST/raw",
        transposed=True,
    )


EMNIST = {subset: _emnist_subset(subset) for subset in SUBSETS}
ALL = (MNIST, FASHION_MNIST, KMNIST, *EMNIST.values())
