"""--optuna-storage: a copy of a sweep's trials as an Optuna study, for optuna-dashboard.

The sweep itself keeps its trials in memory and in the tracking store. A database that stops
answering therefore stops no trial, and what the copy lacks is added when the sweep is resumed.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch

from genae_core.config import require
from genae_core.config.console import say
from genae_core.config.network import within
from genae_core.config.redaction import redact, redact_uri
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Curves, SweepPlace
from genae_core.sweep.reports import FAILED
from genae_core.tracking.store_check import check_other_database
from genae_core.tracking.store_errors import describe, translate_errors
from genae_core.tracking.store_uri import is_same_store

FLAG = "--optuna-storage"
DATABASES = ("sqlite", "postgresql", "mysql")
OWNER = "genae: tracking store"  # the study's attribute that says whose sweep it shows
WAIT_S = 15.0  # the longest time that a call of the database may take


class StudyCopy:
    """The study in the database.

    Args:
        uri: The URI of the database.
        name: The name of the study.
    """

    def __init__(self, uri: str, name: str) -> None:
        self.uri, self.name = uri, name
        self._study: optuna.Study | None = None
        self._storage: optuna.storages.RDBStorage | None = None
        self._stored: set[tuple[str, str]] = set()  # the finished trials that the study has
        self._is_lost = False

    def __getstate__(self) -> dict[str, Any]:
        """Return no address: Tune writes its searcher to disk, and the URI may hold a password."""
        return {"name": self.name}

    def open(self) -> optuna.Study:
        """Open the study, and make it if it is missing. Raises StoreError."""
        with translate_errors(self.uri, FLAG):
            return within(WAIT_S, self._open)

    def close(self) -> None:
        """Close all connections. A process that is forked afterwards opens its own."""
        if self._storage is not None:
            self._storage.engine.dispose()
        self._study = self._storage = None

    def add(self, trials: Iterable[FrozenTrial]) -> None:
        """Add the trials that the study does not have. A database that fails is only a warning,
        and is then left alone until the sweep is resumed."""
        if self._is_lost:
            return
        try:
            within(WAIT_S, self._add, list(trials))
        except Exception as error:  # a driver of a database and a network can raise anything
            self._is_lost = True
            say(
                f"warning: {FLAG} {redact_uri(self.uri)}: {describe(error, self.uri)}; the trials "
                "go on, and a resume adds what the study lacks"
            )

    def _open(self) -> optuna.Study:
        self._storage = optuna.storages.RDBStorage(self.uri)
        return optuna.create_study(
            storage=self._storage,
            study_name=self.name,
            direction="minimize",
            load_if_exists=True,
        )

    def _add(self, trials: list[FrozenTrial]) -> None:
        if self._study is None:
            self._study = self._open()
            finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            self._stored = {_result_of(trial) for trial in finished}
        for trial in trials:
            if trial.state == TrialState.COMPLETE:
                if _result_of(trial) in self._stored:
                    continue
                self._stored.add(_result_of(trial))
            self._study.add_trial(trial)


class CopiedSearch(OptunaSearch):
    """Tune's searcher with Optuna, whose trials also go to a StudyCopy if it has one.

    Attributes:
        copy: The copy; None without --optuna-storage.
        folder: The sweep's folder, once it is known.
        curves: The curves that the store already had; see `Plan`.
    """

    copy: StudyCopy | None = None
    folder: Path | None = None
    curves: Curves = {}  # noqa: RUF012  # never changed
    _has_begun = False

    def suggest(self, trial_id: str) -> Any:
        if self.copy is not None and not self._has_begun:
            self._has_begun = True
            self.copy.add(self._trials(TrialState.COMPLETE))  # what is known from before
        return super().suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        super().on_trial_complete(trial_id, result, error)
        if self.copy is not None and (result or error):
            trial = self._trials()[self._ot_trials[trial_id].number]
            self.copy.add([_for_people(trial, result or {})])

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        study: Any = self._ot_study
        trials: list[FrozenTrial] = study.get_trials(deepcopy=False, states=states or None)
        return trials


def suggest_cell(axes: dict[str, list[Any]], trial: optuna.Trial) -> None:
    """Suggest one of the values of each coordinate."""
    for name, values in axes.items():
        trial.suggest_categorical(name, values)


def open_copy(place: SweepPlace, options: LaunchOptions) -> StudyCopy:
    """Check --optuna-storage, and open the sweep's study there.

    Raises:
        ValueError: It is no database that Optuna writes, it is the tracking store, or it has a
            study of this name that is not of this sweep.
        StoreError: It does not answer, or cannot be opened.
    """
    uri = options.optuna_storage
    assert uri is not None
    kind = uri.split(":", 1)[0].split("+", 1)[0]
    require(
        "://" in uri and kind in DATABASES,
        f"{FLAG} must be sqlite:///PATH, postgresql+psycopg://... or mysql+pymysql://...",
        optuna_storage=redact_uri(uri),
    )
    require(
        not is_same_store(uri, place.tracker.uri),
        f"{FLAG} must be another database than --tracking-uri, because Optuna and MLflow keep the "
        "version of their tables under the same name",
        optuna_storage=redact_uri(uri),
    )
    check_other_database(uri, FLAG)
    copy = StudyCopy(uri, place.name)
    try:
        _claim(copy, redact(place.tracker.uri), bool(options.resume))
    finally:
        copy.close()
    say(f"optuna: optuna-dashboard {redact_uri(uri)} shows the study {place.name}")
    return copy


def _claim(copy: StudyCopy, owner: str, resumed: bool) -> None:
    """Enter the owner in the study. Raises ValueError if it shows the trials of another sweep."""
    study = copy.open()
    with translate_errors(copy.uri, FLAG):
        is_empty = not within(WAIT_S, study.get_trials)
        is_own = within(WAIT_S, lambda: study.user_attrs.get(OWNER)) == owner
    require(
        is_empty or (is_own and resumed),
        f"{FLAG} has a study of this name already, which is not of this sweep: choose another "
        "--name, or delete it with `optuna delete-study`",
        study=copy.name,
    )
    with translate_errors(copy.uri, FLAG):
        within(WAIT_S, study.set_user_attr, OWNER, owner)


def _for_people(trial: FrozenTrial, result: dict[str, Any]) -> FrozenTrial:
    """The trial with a state that says how it ended, also if it failed or was stopped."""
    state, value = TrialState.COMPLETE, trial.value
    if not result or FAILED in result:
        state, value = TrialState.FAIL, None
    elif not result.get("finished"):
        state, value = TrialState.PRUNED, None
    shown = optuna.trial.create_trial(
        state=state,
        value=value,
        params=trial.params,
        distributions=trial.distributions,
        intermediate_values={
            step: value
            for step, value in trial.intermediate_values.items()
            if math.isfinite(value)
        },
        user_attrs={FAILED: redact(str(result[FAILED]))[:1000]} if FAILED in result else {},
    )
    shown.datetime_start = trial.datetime_start
    return shown


def _result_of(trial: FrozenTrial) -> tuple[str, str]:
    """What makes two finished trials the same: the cell and its value, which may be rounded."""
    return json.dumps(trial.params, sort_keys=True), f"{trial.value:.6g}"
