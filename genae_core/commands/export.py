"""Write the trained model of a run into a folder that others can read: for a model hub, say.

The folder holds the weights (safetensors), the config, a model card (README.md) with the FCD at
each step of the chain, and samples of the model. It holds no image of the data set, and none of
your paths. `genae sample DIR` draws from it, anywhere and without an MLflow store.

  genae export RUN_ID --out DIR
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from genae_core import recipes
from genae_core.config.command_name import command_line
from genae_core.config.messages import print_warning
from genae_core.config.places import locate_fields
from genae_core.config.progress import ProgressDisplay


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this command."""

    run_id: Annotated[str, tyro.conf.Positional]
    """Id of an MLflow run."""
    out: Path
    """Folder for the model, which must be empty or not exist yet."""
    tracking_uri: str | None = None
    """MLflow store of the run (default: mlflow.db in GENAE_HOME)."""

    def __post_init__(self) -> None:
        locate_fields(self, "out", "tracking_uri")


def main(options: Options) -> int:
    """Write the folder, and print what is in it."""
    with ProgressDisplay("exporting the model"):
        export = recipes.export_run(options.run_id, options.out, options.tracking_uri)
    print(export.title)
    width = max(map(len, export.bytes_by_file))
    for name, size in export.bytes_by_file.items():
        print(f"  {name:<{width}}  {size:,} bytes")
    for name in export.needed:
        print_warning(
            f"{name} held a path, which is left out: a class of your own that needs it cannot be "
            "built from this folder"
        )
    if export.files:
        print_warning(
            "the weights hold these files of the model as they are; publish only what you may: "
            f"{', '.join(export.files)}"
        )
    folder = str(export.folder)
    print(f"{folder}\nbefore you publish it: state the licence of the weights in README.md")
    if export.sampling_words is not None:
        words = ["--num-samples", "1000", "--out", "SAMPLES", *export.sampling_words]
        print(f"to sample it: {command_line('sample', folder, *words)}")
    return 0
