"""The flags that say where a sweep runs, and how many of its trials run at a time."""

import os
from dataclasses import dataclass
from typing import Literal

from genae_core import config
from genae_core.config.places import locate_fields
from genae_core.data.limits import MAX_REJECTED
from genae_core.experiment.precision_flag import Precision
from genae_core.report.decision import QuestionName

KIND_AMOUNT = 0.001  # of the resource of an accelerator's type, as Ray itself asks for it


def accelerator(kind: str) -> str:
    """The resource that Ray's nodes with accelerators of this type have."""
    return f"accelerator_type:{kind}"


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """How the images get from their files to the trials."""

    shards: str | None = None
    """Folder or URI of shards that `genae prepare` has made (default: GENAE_HOME, in which
    missing shards are prepared)."""
    max_rejected: float = MAX_REJECTED
    """Largest fraction of the files that may be unusable as images, in [0, 1]."""
    memory_budget: float | None = None
    """GiB of training images that a node may hold; a larger set is streamed (default: half of
    Ray's object store; without Ray the images are read from the disk as they are needed)."""

    @property
    def budget_bytes(self) -> int | None:
        return None if self.memory_budget is None else int(self.memory_budget * 2**30)

    def __post_init__(self) -> None:
        locate_fields(self, "shards")
        config.require_finite(0, max_rejected=self.max_rejected)
        config.require(
            self.max_rejected <= 1, "--max-rejected must be <= 1", max_rejected=self.max_rejected
        )
        if self.memory_budget is not None:
            config.require_amount(memory_budget=self.memory_budget)


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions:
    """Which classifier computes the features that the FCD compares."""

    classifier: Literal["shipped", "train"] | None = None
    """Classifier behind the FCD: the one that comes with genae, or one that is trained on these
    images once and kept in GENAE_HOME (default: shipped for the official images of digits, mnist
    and fashion_mnist in their usual form, else train)."""


@dataclass(frozen=True, kw_only=True)
class SettlingOptions:
    """Whether a study gives its cells only as many seeds as its question needs."""

    until_settled: bool = False
    """Train all cells with three seeds, or with those that --seeds names, then give more seeds
    only to those for which the question is open, until it is decided. The seeds are 0, 1, 2, ...,
    after those that the sweep has."""
    question: QuestionName = "best-cell"
    """What --until-settled decides. best-cell: which cell has the lowest FCD. best-step: for each
    cell, which recorded step of its first chain has the lowest FCD, and so whether the chain
    helps. family-order: the order of the families, each by its best cell."""
    confidence: float = 0.95
    """With --until-settled, the probability with which the decision must be right, in (0.5, 1)."""
    indifference: float = 0.0
    """With --until-settled, a difference in FCD that does not matter: cells that are certainly
    closer than this are not told apart."""


@dataclass(frozen=True, kw_only=True)
class LaunchOptions(SettlingOptions, ClassifierOptions, ShardOptions):
    """Where a sweep runs, and how many of its trials run at a time."""

    seeds: tuple[int, ...] = (0,)
    """Seeds of the training; each cell is trained once with each of them."""
    trials_in_parallel: int | None = None
    """Trials that run at a time (default: as many as the CPUs and GPUs hold)."""
    cpus_per_trial: int = 1
    """CPUs of a trial, which are also its threads; its processes share them."""
    gpus_per_trial: float | Literal["auto"] = 0.0
    """GPUs of a trial. A fraction such as 0.25 puts several trials on one GPU. "auto" measures the
    largest model once, and puts as many trials on a GPU as fit. With 2 or more, the trial has a
    process for each GPU, and they share its trainings."""
    processes_per_trial: int | None = None
    """Processes that share the trainings of a trial, of which each computes its part of every
    batch (default: one for each GPU, or one). Except for rounding, the result is that of one."""
    accelerator_type: str | None = None
    """Type of the GPUs of the trials, as Ray names it, such as A100 or H100 (default: any)."""
    precision: Precision = "auto"
    """How the models compute. "bf16" computes matrix products and convolutions in bfloat16, and
    everything else in fp32. "fp32-channels-last" stores the channels of a pixel side by side.
    "auto" times a few steps of the largest model in each way, and leaves plain fp32 only for a way
    that is clearly faster. This is kept in GENAE_HOME/measurements; delete the file that the sweep
    names to measure again."""
    cuda_graphs: bool = True
    """On a GPU, try CUDA graphs, which capture a step of a training or of a chain once and replay
    it. They are used if a training of the largest model is clearly faster with them and has the
    same result."""
    seeds_together: Literal["auto", "yes", "no"] = "auto"
    """Train the --seeds of a cell as one stacked model. Except for rounding, each seed has the
    same result as alone. "auto" times a few steps of the largest model both ways, and stacks the
    seeds only if that is clearly faster, as it may be on a GPU that one model does not fill."""
    memory_per_trial: float | None = None
    """GiB of memory of a trial (default: no limit). As many trials run at a time as a node's
    memory holds. A trial that uses more memory fails, and the others continue."""
    asha: bool = False
    """Stop trials that are worse than the others at the same fraction of their steps (ASHA). A
    stopped cell has no curve, so do not use this in a study that compares cells."""
    tracking_uri: str | None = None
    """MLflow store: sqlite:///PATH or http://HOST:PORT (default: mlflow.db in GENAE_HOME)."""
    storage: str | None = None
    """Folder of the sweep's own files (default: sweeps/ in GENAE_HOME), or a URI such as
    s3://BUCKET/sweeps, to which everything that a resume needs is also copied."""
    optuna_storage: str | None = None
    """Database to which the trials are also written as an Optuna study of the sweep's name, for
    optuna-dashboard: sqlite:///PATH, postgresql+psycopg://... or mysql+pymysql://... (default:
    none). It must not be the tracking store."""
    shared_storage: bool = False
    """State that every node can open --storage and an SQLite --tracking-uri, e.g. over NFS."""
    name: str | None = None
    """Name of the sweep, which must be new unless --resume is used (default: the study, the UTC
    time and a suffix)."""
    resume: bool | Literal["auto"] = False
    """Resume the sweep called --name. Runs that have finished are not run again. More --seeds than
    before add runs to a study. "--resume auto" begins the sweep if there is none of this name, and
    resumes it otherwise, so that a batch system can repeat the same command."""
    checkpoint_seconds: float = 60.0
    """Seconds between two snapshots of a training. After an interruption, the training continues
    from the last one."""
    max_retries: int = 3
    """How often a trial is run again after its worker or its node died. A trial that raises an
    error is not run again."""
    fail_fast: int | None = None
    """Stop the sweep if the first trials have all failed with the same error, this many of them
    (default: off, since the other cells may not have the error)."""
    max_hours: float | None = None
    """Hours after which no trial starts and the running trials stop (default: no limit). The sweep
    can then be resumed."""
    max_trials: int | None = None
    """Largest number of trials (default: no limit). A study with more trials does not start, and a
    search ends after this number."""
    max_nodes: int | None = None
    """Largest number of nodes of a growing cluster that the trials use at a time (default: no
    limit)."""
    price_per_node_hour: float | None = None
    """Price of one node for an hour, in your currency. The sweep then prints what it may cost
    before it begins."""
    max_cost: float | None = None
    """Money that the trials' nodes may cost in this launch, at --price-per-node-hour (default: no
    limit). It is a --max-hours for as many nodes as the trials keep busy, or --max-nodes."""
    ray_address: str | None = None
    """Address of the Ray cluster to join, e.g. auto (default: RAY_ADDRESS; without it the sweep
    starts its own Ray)."""
    print: bool = False
    """Only print the trials that would run."""

    @property
    def trial_resources(self) -> dict[str, float]:
        """What Ray reserves for a trial; memory is in bytes."""
        memory = {"memory": self.memory_per_trial * 2**30} if self.memory_per_trial else {}
        kind = {accelerator(self.accelerator_type): KIND_AMOUNT} if self.accelerator_type else {}
        return {"cpu": self.cpus_per_trial, "gpu": self.gpus, **memory, **kind}

    @property
    def processes(self) -> int:
        """Processes that share the trainings of a trial."""
        return self.processes_per_trial or max(1, int(self.gpus))

    @property
    def threads(self) -> int:
        """Threads of each process of a trial."""
        return max(1, self.cpus_per_trial // self.processes)

    @property
    def has_default_seeds(self) -> bool:
        """Whether --seeds was left out. The default is known by its identity, because flags may
        have given the same seeds."""
        return self.seeds is type(self).__dataclass_fields__["seeds"].default

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
        locate_fields(self, "storage", "tracking_uri", "optuna_storage")
        config.require(len(self.seeds) > 0, "--seeds must name at least one", seeds=self.seeds)
        config.require(
            len(set(self.seeds)) == len(self.seeds), "--seeds must differ", seeds=self.seeds
        )
        config.require_positive_int(cpus_per_trial=self.cpus_per_trial)
        if self.gpus_per_trial != "auto":
            config.require_gpus(gpus_per_trial=self.gpus_per_trial)
        self._check_processes()
        self._check_accelerator()
        for name in ("memory_per_trial", "max_hours", "price_per_node_hour", "max_cost"):
            if (value := getattr(self, name)) is not None:
                config.require_amount(**{name: value})
                flag = f"--{name.replace('_', '-')}"
                config.require(value > 0, f"{flag} must be > 0", **{name: value})
        config.require(
            self.max_cost is None or self.price_per_node_hour is not None,
            "--max-cost needs the --price-per-node-hour",
            max_cost=self.max_cost,
        )
        config.require_amount(checkpoint_seconds=self.checkpoint_seconds)
        config.require_int(max_retries=self.max_retries)
        config.require(
            self.max_retries >= 0, "--max-retries must be >= 0", max_retries=self.max_retries
        )
        for name in ("trials_in_parallel", "max_trials", "max_nodes", "fail_fast"):
            if (value := getattr(self, name)) is not None:
                config.require_positive_int(**{name: value})
        config.require(
            self.resume in (True, False, "auto"),
            '--resume stands alone or with "auto"',
            resume=self.resume,
        )
        config.require(
            not self.resume or self.name is not None,
            "--resume needs the --name of the sweep",
            name=self.name,
        )
        self._check_name()
        self._check_settling()

    def _check_settling(self) -> None:
        config.require_amount(confidence=self.confidence, indifference=self.indifference)
        config.require(
            0.5 < self.confidence < 1,
            "--confidence must be in (0.5, 1)",
            confidence=self.confidence,
        )
        if not self.until_settled:
            config.require(
                self.question == "best-cell",
                "--question says what --until-settled decides: give both",
                question=self.question,
            )
            return
        config.require(
            self.has_default_seeds or len(self.seeds) > 1,
            "--until-settled compares trainings over several seeds: name two --seeds or more to "
            "begin with, or leave out --seeds",
            seeds=self.seeds,
        )
        config.require(
            not self.asha,
            "--until-settled compares cells that have done all their steps: leave out --asha",
            asha=self.asha,
        )

    def _check_processes(self) -> None:
        if self.processes_per_trial is not None:
            config.require_positive_int(processes_per_trial=self.processes_per_trial)
            config.require(
                self.gpus in (0, self.processes_per_trial),
                "--processes-per-trial is for trials without GPUs, because with GPUs a trial has "
                "a process for each: leave it out",
                processes_per_trial=self.processes_per_trial,
                gpus_per_trial=self.gpus_per_trial,
            )
        if self.processes == 1:
            return
        fraction_of_a_cpu = self.gpus > 0 and self.cpus_per_trial < self.processes
        config.require(
            fraction_of_a_cpu or self.cpus_per_trial % self.processes == 0,
            f"--cpus-per-trial must be a multiple of the {self.processes} processes of a trial",
            cpus_per_trial=self.cpus_per_trial,
        )
        config.require(
            self.memory_per_trial is None,
            "--memory-per-trial limits one process, and a trial would have "
            f"{self.processes}: leave it out",
            memory_per_trial=self.memory_per_trial,
        )
        config.require(
            self.seeds_together != "yes",
            f"seeds as one model are trained by one process, and a trial would have "
            f"{self.processes}: leave out --seeds-together",
            seeds_together=self.seeds_together,
        )

    def _check_accelerator(self) -> None:
        if self.accelerator_type is None:
            return
        plain = self.accelerator_type.translate(str.maketrans("", "", "-_.")).isalnum()
        config.require(
            plain,
            "--accelerator-type must be a name of Ray, such as A100",
            accelerator_type=self.accelerator_type,
        )
        config.require(
            self.gpus > 0,
            "--accelerator-type is only for trials with a GPU: give --gpus-per-trial too",
            gpus_per_trial=self.gpus_per_trial,
        )

    def _check_name(self) -> None:
        if self.name is not None:
            plain = self.name.translate(str.maketrans("", "", "-_.")).isalnum()
            config.require(
                plain and self.name[0].isalnum(),
                "--name must begin with a letter or a digit, and hold letters, digits, '.', '_' "
                "and '-' only",
                name=self.name,
            )
