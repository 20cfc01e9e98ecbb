"""The flags that say where and how wide a sweep runs."""

import os
from dataclasses import dataclass
from typing import Literal

from genae_core import config
from genae_core.experiment.precision import Precision


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """How the images get from their files to the trials."""

    shards: str | None = None
    """Folder or URI of shards that jobs/prepare_data.py has made (default: missing shards are
    prepared in GENAE_HOME)."""
    max_rejected: float = 0.001
    """Largest fraction of the files that may be unusable as images."""
    memory_budget: float | None = None
    """GiB of training images that a node may hold; a larger set is streamed (default: half of
    Ray's object store, or half of the memory without Ray)."""

    @property
    def budget_bytes(self) -> int | None:
        return None if self.memory_budget is None else int(self.memory_budget * 2**30)

    def __post_init__(self) -> None:
        config.require_finite(0, max_rejected=self.max_rejected)
        config.require(
            self.max_rejected <= 1, "--max-rejected must be <= 1", max_rejected=self.max_rejected
        )
        if self.memory_budget is not None:
            config.require_finite(0, memory_budget=self.memory_budget)


@dataclass(frozen=True, kw_only=True)
class LaunchOptions(ShardOptions):
    """Where and how wide a sweep runs."""

    seeds: tuple[int, ...] = (0,)
    """Seeds of the training; each cell is trained once with each of them."""
    trials_in_parallel: int | None = None
    """Trials that run at a time (default: as many as the CPUs and GPUs hold)."""
    cpus_per_trial: int = 1
    """CPUs of a trial, which are also its threads."""
    gpus_per_trial: float | Literal["auto"] = 0.0
    """GPUs of a trial. A fraction such as 0.25 puts several trials on one GPU; "auto" measures the
    largest model once and puts as many trials on a GPU as fit."""
    precision: Precision = "auto"
    """How the models compute. "bf16" does matrix products and convolutions in bfloat16, and
    everything else in fp32. "auto" times a few steps of the largest model each way, also with the
    values of a pixel together (channels last), and takes another way than plain fp32 only if it is
    clearly faster."""
    cuda_graphs: bool = True
    """On a GPU, try CUDA graphs: record a step of a training or of a chain once, and launch it as
    one. They are used if a training of the largest model is clearly faster with them and comes to
    the same."""
    seeds_together: Literal["auto", "yes", "no"] = "auto"
    """Train the --seeds of a cell as one stacked model; but for rounding, each comes to what it
    would come to alone. "auto" times a few steps of the largest model both ways, and stacks the
    seeds only if that is clearly faster, as it can be on a GPU that one model does not fill."""
    memory_per_trial: float | None = None
    """GiB of memory of a trial. As many trials run at a time as a node's memory holds, and a trial
    that uses more fails alone (default: no limit)."""
    asha: bool = False
    """Stop trials that are behind the others at the same epoch (ASHA). This is for searches: a
    stopped cell has no curve, so leave it off if cells are to be compared."""
    tracking_uri: str | None = None
    """MLflow store: sqlite:///PATH or http://HOST:PORT (default: mlflow.db in GENAE_HOME)."""
    storage: str | None = None
    """Folder of the sweep's own files (default: sweeps/ in GENAE_HOME), or a URI such as
    s3://BUCKET/sweeps, to which everything that a resume needs is also copied."""
    shared_storage: bool = False
    """Say that every node sees --storage and an SQLite --tracking-uri, for example over NFS."""
    name: str | None = None
    """Name of the sweep (default: study, UTC time, suffix). A name that exists is refused."""
    resume: bool = False
    """Continue the sweep called --name: what has finished is not run again."""
    checkpoint_seconds: float = 60.0
    """Seconds between two states of a training, from which it goes on after an interruption."""
    max_retries: int = 3
    """How often a trial is run again after its worker or node died. A trial that fails by itself
    is not run again."""
    max_hours: float | None = None
    """Hours after which no trial is started and the running ones stop, so that the sweep can be
    resumed (default: no limit)."""
    max_trials: int | None = None
    """A study of more trials is refused, and a search ends after as many (default: no limit)."""
    max_nodes: int | None = None
    """Nodes of a growing cluster that the trials may fill at a time (default: no limit)."""
    price_per_node_hour: float | None = None
    """Price of one node, in your currency; then the sweep prints what it may cost before it
    begins."""
    ray_address: str | None = None
    """Address of a cluster to join, e.g. auto (default: RAY_ADDRESS, else a Ray of its own)."""
    print: bool = False
    """Print the trials that would run, and stop."""

    @property
    def trial_resources(self) -> dict[str, float]:
        """What Ray reserves for a trial; memory is in bytes."""
        memory = {"memory": self.memory_per_trial * 2**30} if self.memory_per_trial else {}
        return {"cpu": self.cpus_per_trial, "gpu": self.gpus, **memory}

    @property
    def joins(self) -> bool:
        """Whether the sweep joins a cluster, which may grow."""
        return bool(self.ray_address or os.environ.get("RAY_ADDRESS"))

    @property
    def gpus(self) -> float:
        """GPUs of a trial; one until "auto" has been measured."""
        return 1.0 if self.gpus_per_trial == "auto" else self.gpus_per_trial

    def __post_init__(self) -> None:
        super().__post_init__()
        config.require(len(self.seeds) > 0, "--seeds must name at least one", seeds=self.seeds)
        config.require(
            len(set(self.seeds)) == len(self.seeds), "--seeds must differ", seeds=self.seeds
        )
        config.require_positive_int(cpus_per_trial=self.cpus_per_trial)
        if self.gpus_per_trial != "auto":
            config.require_finite(0, gpus_per_trial=self.gpus_per_trial)
        for name in ("memory_per_trial", "max_hours", "price_per_node_hour"):
            if (value := getattr(self, name)) is not None:
                config.require_finite(0, **{name: value})
                flag = f"--{name.replace('_', '-')}"
                config.require(value > 0, f"{flag} must be > 0", **{name: value})
        config.require_finite(0, checkpoint_seconds=self.checkpoint_seconds)
        config.require_int(max_retries=self.max_retries)
        config.require(
            self.max_retries >= 0, "--max-retries must be >= 0", max_retries=self.max_retries
        )
        for name in ("trials_in_parallel", "max_trials", "max_nodes"):
            if (value := getattr(self, name)) is not None:
                config.require_positive_int(**{name: value})
        config.require(
            not self.resume or self.name is not None,
            "--resume continues a sweep: give its --name",
            name=self.name,
        )
        if self.name is not None:
            plain = self.name.translate(str.maketrans("", "", "-_.")).isalnum()
            config.require(
                plain and self.name[0].isalnum(),
                "--name takes letters, digits, '.', '_' and '-'",
                name=self.name,
            )
