"""A sweep from its plan to its exit code: what the driver does before and after the trials."""

import contextlib
import importlib
import math
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from genae_core import config
from genae_core.config.console import say
from genae_core.config.errors import print_error, shows_tracebacks
from genae_core.config.home import home
from genae_core.config.machine import usable_cpus
from genae_core.config.messages import print_warning
from genae_core.config.own_code import refuse_while_importing
from genae_core.config.own_functions import own_functions
from genae_core.config.own_parts import describe_obstacles
from genae_core.config.progress import ProgressDisplay
from genae_core.config.redaction import redact
from genae_core.config.stop_signals import STOPPED, StopSignals
from genae_core.data.roots import locate_root
from genae_core.sweep import autotune, preparation, ray_cluster, sweep_folder
from genae_core.sweep.cells import cell_label
from genae_core.sweep.conclusion import OnEnd, conclude
from genae_core.sweep.cost import bound_hours, check_first_round, projected_cost
from genae_core.sweep.memory_limit import SMALLEST_TRIAL, measure_idle
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.own_classes import check_sendable, classes_to_send
from genae_core.sweep.plan import Curves, Outcome, Plan, PreparedSweep, SweepPlace
from genae_core.sweep.separate_process import Ending, Tell, can_fork, leave, run_apart, run_here
from genae_core.sweep.settling import rounds_from
from genae_core.sweep.worker import PROGRESS
from genae_core.tracking.mlflow_store import (
    FEATURES_PRECISION,
    StoreError,
    Tracker,
    forget_connections,
)
from genae_core.tracking.store_uri import is_local
from genae_core.training.processes import check_divides

if TYPE_CHECKING:
    from genae_core.sweep.study_copy import StudyCopy

REFUSED = 2  # the exit code of a sweep that ends before any training
# What --question asks for, in words.
ASKED = {
    "best-cell": "the best cell",
    "best-step": "the best step of each cell",
    "family-order": "the order of the families",
}
TRACEBACK = "traceback.txt"  # in the sweep's folder, or in GENAE_HOME before there is a sweep


def run_sweep(
    study: str,
    make_plan: Callable[[LaunchOptions], Plan],
    options: LaunchOptions,
    on_end: OnEnd,
) -> int:
    """Plan a sweep, prepare it, run its trials and conclude it. Returns the exit code of `launch`.

    Whatever ends the trials, the sweep is concluded from what its folder and the store hold.

    make_plan: Makes the plan. It gets the options, in which `resume` is True or False. Raises
        ValueError if a flag is wrong.
    """
    refuse_while_importing("a sweep")
    auto = options.resume == "auto"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with StopSignals() as signals, ExitStack() as stack:
        try:
            options = sweep_folder.decide_resume(study, options)
            plan = _locate_data(make_plan(options))
            _check_cells(plan, options.processes)
            if options.print:
                print_plan(study, plan, options)
                return 0
            folder, before = _claim_folder(study, plan, options, stack)
        except (ValueError, OSError, StoreError) as error:
            return print_error(error)
        except KeyboardInterrupt:
            return _stop(options)
        signals.note_only()
        began = time.monotonic()
        start = partial(_start, study, folder, before, plan, options)
        if can_fork():
            work = partial(_run_apart, start, plan, options)
            ending = run_apart(work, ray_cluster.disconnect, signals)
            forget_connections()  # the store may have closed them in the meantime
        else:
            ending = run_here(partial(_run, start, plan, options), signals)
            run_here(lambda _: ray_cluster.disconnect(), signals)
        if "begun" not in ending.facts:
            return _end_before_trials(ending, options)
        place = SweepPlace(study, folder.name, folder, Tracker(*ending.facts["store"]), auto)
        outcome = _outcome(ending, len(plan.grid), time.monotonic() - began)
        _keep_traceback(ending, place.folder)
        shutil.rmtree(place.folder / PROGRESS, ignore_errors=True)
        return conclude(place, outcome, options, ending.facts["begun"], on_end, signals)


def _check_cells(plan: Plan, processes: int) -> None:
    """Raise ValueError if an experiment could not be written, sent to workers or read again, or
    if its batches do not divide among the processes of a trial.

    Prints a warning if only this process can read it.
    """
    cells = plan.cells.values()
    for cell in cells:
        config.check_readable(cell)
        if cell.training is not None:
            check_divides(cell.training.batch_size, processes)
    if classes_to_send() or own_functions():
        check_sendable(cells)
    for warning in sorted({text for cell in cells for text in describe_obstacles(cell)}):
        print_warning(warning)


def _claim_folder(
    study: str, plan: Plan, options: LaunchOptions, stack: ExitStack
) -> tuple[Path, dict[str, Any]]:
    """Lock the sweep's folder, and check the flags. Returns the folder and its manifest.

    stack: Holds the lock until the sweep has ended.
    """
    name = options.name or sweep_folder.new_name(study)
    folder = sweep_folder.folder_of(name, options)
    stack.enter_context(sweep_folder.lock(folder))
    more_seeds = plan.seconds is None  # a search compares cells by their mean over the seeds
    return folder, sweep_folder.check_flags(folder, plan.cells, options, more_seeds)


def _start(
    study: str, folder: Path, before: dict[str, Any], plan: Plan, options: LaunchOptions
) -> SweepPlace:
    """Join or start Ray and, beside it, open the store and import Tune. Each takes seconds.

    Ray starts in the main thread, because the system would end its servers with another one. An
    error of the store is raised first.
    """

    def open_place() -> SweepPlace:
        tracker = sweep_folder.open_store(study, folder, before, options)
        importlib.import_module("genae_core.sweep.tune")
        return SweepPlace(study, folder.name, folder, tracker)

    ray_cluster.import_ray()  # two threads must not import it at the same time
    with ProgressDisplay("starting Ray and opening the store"), ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_place)
        try:
            ray_cluster.connect(options.ray_address, workers=_first_workers(plan, options))
        finally:
            place = opening.result()
    return place


def _first_workers(plan: Plan, options: LaunchOptions) -> int:
    """The number of workers that trials of one CPU need at first; 0 if a trial needs more.

    A measurement before them needs one more, because Ray keeps its worker for a while.
    """
    one_cpu = options.cpus_per_trial == options.processes == 1
    if not one_cpu or options.gpus > 0 or plan.max_trials == 0:
        return 0
    limits = (plan.max_trials, options.trials_in_parallel)
    trials = min((limit for limit in limits if limit is not None), default=usable_cpus())
    stacks = options.seeds_together == "auto" and len(options.seeds) > 1
    measures = options.precision == "auto" or options.memory_per_trial is not None or stacks
    return trials + measures


def _run(start: Callable[[], SweepPlace], plan: Plan, options: LaunchOptions, tell: Tell) -> None:
    """Join Ray, prepare the sweep and run its trials.

    start: Joins Ray and opens the store.
    tell: Is told "refused" with the reason if the sweep cannot begin; otherwise "begun" with the
        number of trials at a time and "store", and "outcome" after the trials.
    """
    try:
        place = start()
        if options.optuna_storage is not None:
            plan = plan._replace(copy=open_copy(place, options))
        prepared = _prepare(plan, place, options)
        sweep_folder.write_manifest(prepared)
    except (ValueError, OSError, StoreError) as error:
        tell(refused=str(error))
        return
    tell(begun=prepared.parallel, store=[place.tracker.uri, place.tracker.experiment_id])
    _announce(prepared)
    tell(outcome=run_trials(prepared)._asdict())


def _run_apart(
    start: Callable[[], SweepPlace], plan: Plan, options: LaunchOptions, tell: Tell
) -> None:
    """`_run` in a process of its own, which a dead server of Ray ends."""
    forget_connections()
    with ray_cluster.watch_servers(lambda name: leave(tell, f"Ray's {name} has ended")):
        _run(start, plan, options, tell)


def open_copy(place: SweepPlace, options: LaunchOptions) -> "StudyCopy":
    """`study_copy.open_copy`, whose module imports Tune."""
    from genae_core.sweep import study_copy  # noqa: PLC0415

    return study_copy.open_copy(place, options)


def run_trials(prepared: PreparedSweep) -> Outcome:
    """`tune.run_trials`, whose module imports Tune."""
    from genae_core.sweep import tune  # noqa: PLC0415

    return tune.run_trials(prepared)


def _outcome(ending: Ending, trials: int, seconds: float) -> Outcome:
    """The outcome of the trials, also if they could not tell it."""
    if "outcome" in ending.facts:
        outcome = Outcome(**ending.facts["outcome"])
        why = outcome.why or (ending.why if outcome.interrupted else None)
        return outcome._replace(failures=[(c, r) for c, r in outcome.failures], why=why)
    return Outcome(trials, [], True, seconds, ending.why)


def _refuse(reason: str) -> int:
    say(f"error: {redact(reason)}", error=True)
    return REFUSED


def _stop(options: LaunchOptions) -> int:
    """Say that the sweep was stopped before its trials."""
    again = "; the same command continues the sweep" if options.resume else ""
    say(f"stopped before any trial had started{again}", error=True)
    return STOPPED


def _end_before_trials(ending: Ending, options: LaunchOptions) -> int:
    """Say why no trial could start, and return the exit code."""
    if "refused" in ending.facts:
        return _refuse(ending.facts["refused"])
    if ending.stopped:
        return _stop(options)
    _keep_traceback(ending, home())
    where = f" (see {home() / TRACEBACK})" if ending.details else ""
    return _refuse(f"no trial has started: {ending.why}{where}; the same command tries again")


def _keep_traceback(ending: Ending, folder: Path) -> None:
    """Write the traceback of an error that nobody expects to a file, for whoever mends it."""
    if ending.details and shows_tracebacks():
        say(redact(ending.details).rstrip(), error=True)
    if ending.details:
        with contextlib.suppress(OSError):
            (folder / TRACEBACK).write_text(redact(ending.details), encoding="utf-8")


def _locate_data(plan: Plan) -> Plan:
    """The plan with absolute data roots, so that its runs can be read from another folder."""
    data = next(iter(plan.cells.values())).data
    located = locate_root(data)
    if located == data:
        return plan
    cells = {key: replace(cell, data=located) for key, cell in plan.cells.items()}
    return plan._replace(cells=cells)


def print_plan(study: str, plan: Plan, options: LaunchOptions) -> None:
    """Print the trials that would run."""
    cells, chains = len(plan.grid), len(next(iter(plan.cells.values())).chains)
    seeds, then = len(options.seeds), ""
    if options.until_settled:
        seeds = rounds_from(seeds)[0]
        then = f" at first, and more where the question {options.question} is open"
    print(
        f"{study}: {cells} trials x {seeds} seeds x {chains} chain configs = "
        f"{cells * seeds * chains} runs{then}"
    )
    print_trained(plan)
    for number, params in enumerate(plan.grid, 1):
        print(f"  {number:>3}  {cell_label(params)}")
    if plan.seconds:
        print(f"  then what TPE proposes, for {plan.seconds / 60:g} minutes in all")


def print_trained(plan: Plan) -> None:
    """Print how many cells need no training, if there are any."""
    trained = sum(cell.training is None for cell in plan.cells.values())
    if trained:
        print(
            f"already trained: the models of {trained} of {len(plan.cells)} trials; each is "
            "sampled once, without training, whatever --seeds and --epochs say",
            flush=True,
        )


def _prepare(plan: Plan, place: SweepPlace, options: LaunchOptions) -> PreparedSweep:
    """Join Ray, and prepare what all trials share."""
    folder = place.folder
    data = next(iter(plan.cells.values())).data
    if options.resume:
        cells, data = sweep_folder.keep_places(folder, plan.cells)
        plan = plan._replace(cells=cells)
    _join_ray(place.tracker.uri, options)
    preparation.check_checkpoints(cell.model for cell in plan.cells.values())
    _check_memory(options)
    parallel = _trials_at_a_time(options, plan.max_trials)
    sweep, splits, classifier = preparation.prepare(place, plan.cells, data, parallel, options)
    if options.gpus_per_trial == "auto":
        fraction = autotune.choose_gpu_fraction(folder, sweep, splits, classifier, options)
        options = replace(options, gpus_per_trial=fraction)
        sweep = replace(sweep, gpus=fraction)
        parallel = _trials_at_a_time(options, plan.max_trials)
    # A measurement takes the place of one trial.
    with ray_cluster.request_nodes(options.trial_resources, parallel - 1):
        choice = autotune.choose_compute(folder, sweep, splits, options)
        sweep = replace(sweep, compute=choice.compute, compute_from=choice.origin)
        features = autotune.choose_features(place, sweep, options)
        tags = sweep.tags | {FEATURES_PRECISION: features}
        sweep = replace(sweep, features=features, tags=tags)
        stacked = autotune.choose_stacking(folder, sweep, splits, options)
        sweep = replace(sweep, stack_seeds=stacked)
    if options.resume and options.question == "best-step":
        plan = plan._replace(curves=stored_curves(place))
    options = bound_hours(options, _busy_nodes(options, parallel))
    prepared = PreparedSweep(plan, place, sweep, splits, classifier, parallel, options)
    if options.until_settled and not options.resume:
        seconds = _seconds_of_earlier_runs(prepared)
        check_first_round(first_round(plan, options), parallel, seconds, options)
    return prepared


def stored_curves(place: SweepPlace) -> Curves:
    """The curves of the first chains of all runs that have finished."""
    runs = place.tracker.read_runs(place.name, ("fcd_val",))
    return {
        (run.tags["cell"], int(run.tags["seed"])): [
            value for _, value in sorted(run.chain.get("fcd_val", {}).items())
        ]
        for run in runs
        if run.status == "FINISHED" and run.tags.get("stage") == "model"
    }


def _announce(prepared: PreparedSweep) -> None:
    """Print what will run, and what it may cost."""
    plan, sweep, options = prepared.plan, prepared.sweep, prepared.options
    if plan.max_trials == 0:
        say(f"sweep {sweep.name}: everything has run")
        return
    hours = f", {options.max_hours:.4g} hours at most" if options.max_hours else ""
    say(
        f"sweep {sweep.name}: {_describe_trials(prepared)} on {sweep.tags['dataset']}, "
        f"{prepared.parallel} trials at a time{hours}. Ctrl-C stops it "
        "and keeps what has finished."
    )
    print_trained(plan)
    if options.price_per_node_hour is not None:
        settles = options.until_settled
        cost = projected_cost(
            trials=first_round(plan, options) if settles else plan.max_trials,
            seeds=1 if settles else len(sweep.seeds),
            parallel=prepared.parallel,
            nodes=_busy_nodes(options, prepared.parallel),
            seconds=_seconds_of_earlier_runs(prepared),
            options=options,
        )
        say(cost)


def first_round(plan: Plan, options: LaunchOptions) -> int:
    """The trials of the first round of a sweep that is to be settled."""
    return len(plan.grid) * rounds_from(len(options.seeds))[0]


def _busy_nodes(options: LaunchOptions, parallel: int) -> int:
    """The number of nodes that the trials keep busy."""
    return -(-parallel // max(1, *ray_cluster.slots(options.trial_resources)))


def _describe_trials(prepared: PreparedSweep) -> str:
    """What will run, in words."""
    plan, options = prepared.plan, prepared.options
    if options.until_settled:
        most = f", {plan.max_trials} trials at most" if plan.max_trials else ""
        seeds, asked = rounds_from(len(options.seeds))[0], ASKED[options.question]
        return (
            f"{len(plan.grid)} cells x {seeds} seeds, then more seeds until {asked} is settled "
            f"with {100 * options.confidence:g} % confidence{most},"
        )
    limits = [f"{plan.max_trials} trials"] if plan.max_trials else []
    limits += [f"{plan.seconds / 60:g} minutes"] if plan.seconds else []
    return f"{' or '.join(limits)} x {len(prepared.sweep.seeds)} seeds"


def _seconds_of_earlier_runs(prepared: PreparedSweep) -> list[float]:
    """The seconds that the study's runs took on this data; empty if the store does not answer."""
    with contextlib.suppress(StoreError):
        dataset = prepared.sweep.tags["dataset"]
        return prepared.place.tracker.run_seconds(dataset=dataset, stage="model")
    return []


def _join_ray(uri: str, options: LaunchOptions) -> None:
    """Join or start Ray. Raises ValueError if it cannot run these trials."""
    nodes = ray_cluster.connect(options.ray_address)
    local = is_local(uri) and not options.shared_storage
    config.require(
        not (local and options.joins)
        or ray_cluster.single_node_fits(options.trial_resources, options.trials_in_parallel or 0),
        "the trials may run on several nodes, which cannot all reach an SQLite store: give "
        "--tracking-uri http://HOST:PORT and a shared --storage, or --shared-storage if every "
        "node can open these files",
        nodes=nodes,
    )
    holds = sum(ray_cluster.slots(options.trial_resources))
    grows = options.joins and options.trials_in_parallel is not None
    _check_accelerator(options.accelerator_type, grows)
    config.require(
        holds >= 1 or grows,
        "nothing here holds a trial: lower --cpus-per-trial, --gpus-per-trial or "
        "--memory-per-trial, or join a cluster that will grow and set --trials-in-parallel",
        cluster=ray_cluster.resources(),
    )


def _check_accelerator(kind: str | None, grows: bool) -> None:
    """Raise ValueError if no node has accelerators of this type, and none can join."""
    kinds = ray_cluster.accelerator_types()
    if kind is None or kind in kinds:
        return
    config.require(
        grows,
        "--accelerator-type must be a type that a node here has",
        accelerator_type=kind,
        nodes=kinds,
    )
    print(f"note: the trials wait until a node with the --accelerator-type {kind} joins")


def _check_memory(options: LaunchOptions) -> None:
    """Raise ValueError if --memory-per-trial leaves a trial no memory beside its worker's own."""
    if options.memory_per_trial is None:
        return
    print("measuring the memory of a worker without a trial, once ...", flush=True)
    with ProgressDisplay("measuring the memory of a worker"):
        idle = ray_cluster.call_once(
            measure_idle,
            options.gpus > 0,
            cpus=options.cpus_per_trial,
            gpus=min(1.0, options.gpus),
            accelerator_type=options.accelerator_type,
        )
    least = (idle + SMALLEST_TRIAL) / 2**30
    config.require(
        options.memory_per_trial >= least,
        f"a worker takes {idle / 2**30:.2f} GiB before its first trial, so --memory-per-trial "
        f"must be at least {math.ceil(100 * least) / 100:g}",
        memory_per_trial=options.memory_per_trial,
    )


def _trials_at_a_time(options: LaunchOptions, most: int | None) -> int:
    """The number of trials that run at a time. most: the number of all trials, if it is known."""
    slots = ray_cluster.slots(options.trial_resources)
    parallel = options.trials_in_parallel or sum(slots)
    if options.max_nodes is not None:
        parallel = min(parallel, options.max_nodes * max(1, *slots))
    return min(parallel, most or parallel)
