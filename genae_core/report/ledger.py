"""The ledger of a paper's claims: each is decided by an interval over seeds, or is left open.

A claim says in which region a statistic lies, for example below 0. It is measured in several
settings, such as families and latent dimensions, with one value for each seed. For the mean of n
seeds, with the standard error s / sqrt(n) and the distance d to the nearest edge of the region,

    p = 2 P(T > d / (s / sqrt(n))),  T of Student's t with n - 1 degrees of freedom,

is below 0.05 exactly if the 95 % interval of the mean holds no edge. The p-values of all settings
of all claims of the ledger are adjusted together (Benjamini & Hochberg 1995), so that among the
settings that are decided at most 5 % are expected to be decided wrongly. Their procedure holds for
tests that are independent or positively dependent.
"""

import bisect
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from scipy.special import stdtr, stdtrit
from scipy.stats import false_discovery_control

from genae_core.report.intervals import interval

RATE = 0.05  # of the decided settings that may be decided wrongly
MOST_SEEDS = 1_000  # a setting that would take more seeds than this is said to take more

SettingVerdict = Literal["confirmed", "refuted", "undecided"]
Verdict = Literal["confirmed", "refuted", "bounded", "undecided", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of a paper, as a statement about a number.

    Args:
        name: Its name on the command line.
        text: The claim in words.
        source: The paper, with the section or the figure.
        statistic: What is measured for each seed, in words.
        low: The lower edge of the claimed region.
        high: The upper edge of the claimed region.
        ratio: Whether the statistic is a positive ratio. Its values over seeds are then averaged
            as logarithms, and the edges are ratios too.
    """

    name: str
    text: str
    source: str
    statistic: str
    low: float = -math.inf
    high: float = math.inf
    ratio: bool = False

    @property
    def region(self) -> str:
        """The claimed region in words."""
        if math.isinf(self.low):
            return f"below {self.high:g}"
        if math.isinf(self.high):
            return f"above {self.low:g}"
        return f"between {self.low:g} and {self.high:g}"

    def scaled(self, value: float) -> float:
        """The value on the scale on which seeds are averaged."""
        return math.log(value) if self.ratio else value

    def unscaled(self, value: float) -> float:
        """The inverse of `scaled`."""
        return math.exp(value) if self.ratio else value

    @property
    def edges(self) -> list[float]:
        """The finite edges of the region, on the scale on which seeds are averaged."""
        edges = [self.low, self.high]
        return [self.scaled(edge) for edge in edges if math.isfinite(edge)]

    def holds_for(self, value: float) -> bool:
        """Whether a value, on the scale on which seeds are averaged, is inside the region."""
        return self.low < self.unscaled(value) < self.high


class Measurement(NamedTuple):
    """A claim's statistic in one setting.

    Attributes:
        setting: The setting in words, such as "VAE-10".
        values: The statistic by seed, in its own unit.
        run_ids: The runs that it was measured on.
    """

    setting: str
    values: dict[int, float]
    run_ids: tuple[str, ...] = ()


class Finding(NamedTuple):
    """What a setting says about a claim.

    Attributes:
        setting: The setting in words.
        seeds: The number of seeds.
        estimate: The mean over the seeds; of a ratio, the geometric mean.
        low: The lower end of its 95 % interval; None for one seed.
        high: The upper end of the interval; None for one seed.
        adjusted: The p-value, adjusted for all settings of the ledger; None for one seed.
        verdict: The verdict for this setting.
        seeds_needed: For "undecided", about how many seeds it would take if the mean and the
            standard deviation stay as they are. None if it is decided, if one seed says nothing
            about it, or if it would take more than MOST_SEEDS.
        run_ids: The runs that it was measured on.
    """

    setting: str
    seeds: int
    estimate: float
    low: float | None
    high: float | None
    adjusted: float | None
    verdict: SettingVerdict
    seeds_needed: int | None
    run_ids: tuple[str, ...]


class LedgerRow(NamedTuple):
    """A claim and what was found.

    Attributes:
        claim: The claim.
        findings: What each setting says.
        verdict: The verdict on the claim (see `verdict_of`).
        missing: Which runs the claim lacks, and how to make them; empty if it lacks none.
    """

    claim: Claim
    findings: tuple[Finding, ...]
    verdict: Verdict
    missing: str = ""

    def settings(self, verdict: SettingVerdict) -> list[str]:
        """The settings with this verdict."""
        return [one.setting for one in self.findings if one.verdict == verdict]


def verdict_of(verdicts: Iterable[SettingVerdict]) -> Verdict:
    """The verdict on a claim, which stands whatever the undecided settings turn out to be.

    A claim that holds in some settings and fails in others is bounded. One that is confirmed or
    refuted holds or fails in all settings. Anything else is undecided.
    """
    kinds = set(verdicts)
    if not kinds:
        return "not measured"
    if {"confirmed", "refuted"} <= kinds:
        return "bounded"
    return next(iter(kinds)) if len(kinds) == 1 else "undecided"


def p_value(claim: Claim, values: Sequence[float]) -> float:
    """The p-value of a claim's verdict (see the top of this file).

    Args:
        claim: The claim.
        values: Two or more values, on the scale on which seeds are averaged.
    """
    mean, n = statistics.mean(values), len(values)
    distance = min(abs(mean - edge) for edge in claim.edges)
    error = statistics.stdev(values) / math.sqrt(n)
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(2 * stdtr(n - 1, -distance / error))


def seeds_to_decide(claim: Claim, values: Sequence[float], level: float) -> int | None:
    """The smallest number of seeds with a p-value below `level` if mean and deviation stay.

    Args:
        claim: The claim.
        values: Two or more values, on the scale on which seeds are averaged.
        level: The largest p-value that decides.

    Returns:
        The number; None if it is above MOST_SEEDS.
    """
    distance = min(abs(statistics.mean(values) - edge) for edge in claim.edges)
    deviation = statistics.stdev(values)

    def is_enough(n: int) -> bool:
        return float(stdtrit(n - 1, 1 - level / 2)) * deviation / math.sqrt(n) < distance

    counts = range(2, MOST_SEEDS + 1)
    place = bisect.bisect_left(counts, True, key=is_enough)
    return counts[place] if place < len(counts) else None


def decide(evidence: Sequence[tuple[Claim, Sequence[Measurement]]]) -> list[LedgerRow]:
    """Decide all claims of a ledger together.

    Args:
        evidence: Each claim with its measurements.

    Returns:
        A row for each claim, in the same order.
    """
    tested = {
        (claim.name, one.setting): p_value(claim, scaled_values(claim, one))
        for claim, measurements in evidence
        for one in measurements
        if len(one.values) > 1
    }
    raw = list(tested.values())
    adjusted = dict(zip(tested, false_discovery_control(raw) if raw else [], strict=True))
    decided = sum(value <= RATE for value in adjusted.values())
    level = RATE * (decided + 1) / max(1, len(tested))  # at which one more would be decided
    rows = []
    for claim, measurements in evidence:
        findings = [
            _finding(claim, one, adjusted.get((claim.name, one.setting)), level)
            for one in measurements
        ]
        rows.append(LedgerRow(claim, tuple(findings), verdict_of(f.verdict for f in findings)))
    return rows


def scaled_values(claim: Claim, one: Measurement) -> list[float]:
    """The values of a setting on the scale on which seeds are averaged."""
    return [claim.scaled(value) for value in one.values.values()]


def _finding(claim: Claim, one: Measurement, adjusted: float | None, level: float) -> Finding:
    """What a setting says.

    Args:
        claim: The claim.
        one: The measurement of the setting.
        adjusted: Its adjusted p-value; None for one seed.
        level: The p-value at which one more setting would be decided.
    """
    values = scaled_values(claim, one)
    mean, low, high = interval(values)
    verdict: SettingVerdict = "undecided"
    if adjusted is not None and adjusted <= RATE:
        verdict = "confirmed" if claim.holds_for(mean) else "refuted"
    is_open = verdict == "undecided" and len(values) > 1
    return Finding(
        setting=one.setting,
        seeds=len(values),
        estimate=claim.unscaled(mean),
        low=None if low is None else claim.unscaled(low),
        high=None if high is None else claim.unscaled(high),
        adjusted=None if adjusted is None else float(adjusted),
        verdict=verdict,
        seeds_needed=seeds_to_decide(claim, values, level) if is_open else None,
        run_ids=one.run_ids,
    )
