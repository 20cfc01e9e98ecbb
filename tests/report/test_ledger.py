"""The verdicts of a ledger, on values whose truth is known."""

import math
import re
import statistics
from pathlib import Path

import numpy as np
import pytest

from genae_core.report.intervals import interval
from genae_core.report.ledger import (
    RATE,
    Claim,
    LedgerRow,
    Measurement,
    decide,
    p_value,
    seeds_to_decide,
    verdict_of,
)
from genae_core.report.ledger_page import MARGIN, WIDTH, write_page
from genae_core.report.ledger_text import row_words, rule_lines, verdict_words


def claim(name: str = "falls", **region: float | bool) -> Claim:
    region = region or {"high": 0.0}
    return Claim(name=name, text="it falls", source="here", statistic="a number", **region)  # type: ignore[arg-type]


def measured(setting: str, *values: float) -> Measurement:
    return Measurement(setting, dict(enumerate(values)))


def decided(one: Claim, *settings: Measurement) -> LedgerRow:
    (row,) = decide([(one, settings)])
    return row


@pytest.mark.parametrize("values", [(-3.0, -1.0, -2.0), (0.5, -1.0, 0.1), (4.0, 1.0, 2.0, 2.0)])
def test_the_p_value_is_below_five_percent_exactly_if_the_interval_holds_no_edge(
    values: tuple[float, ...],
) -> None:
    for shift in np.linspace(-4, 4, 41):
        moved = [value + shift for value in values]
        _, low, high = interval(moved)
        assert low is not None and high is not None
        for one in (claim(high=0.0), claim(low=-1.0, high=1.5), claim(low=0.0)):
            clear = not any(low < edge < high for edge in one.edges)
            assert (p_value(one, moved) < 0.05) == clear


def test_a_band_is_confirmed_inside_and_refuted_outside() -> None:
    alike = claim(low=0.9, high=1.1, ratio=True)
    row = decided(
        alike,
        measured("equal", 1.0, 1.01, 0.99),
        measured("twice", 2.0, 2.1, 1.9),
        measured("open", 0.9, 1.1, 1.05),
    )
    assert [one.verdict for one in row.findings] == ["confirmed", "refuted", "undecided"]
    assert row.verdict == "bounded"
    assert row.findings[1].estimate == pytest.approx(statistics.geometric_mean([2.0, 2.1, 1.9]))


def test_values_without_spread_are_decided_unless_they_are_the_edge() -> None:
    row = decided(claim(), measured("below", -1, -1), measured("edge", 0, 0))
    assert [one.verdict for one in row.findings] == ["confirmed", "undecided"]
    assert row.findings[1].seeds_needed is None


def test_one_seed_decides_nothing() -> None:
    row = decided(claim(), measured("one", -100.0))
    assert row.verdict == "undecided" and row.findings[0].low is None
    assert verdict_words(row.findings[0]) == "undecided: one seed has no interval"


@pytest.mark.parametrize(
    "kinds, verdict",
    [
        ([], "not measured"),
        (["confirmed", "confirmed"], "confirmed"),
        (["refuted"], "refuted"),
        (["confirmed", "undecided"], "undecided"),
        (["refuted", "undecided"], "undecided"),
        (["confirmed", "undecided", "refuted"], "bounded"),
    ],
)
def test_the_verdict_stands_whatever_the_open_settings_become(
    kinds: list[str], verdict: str
) -> None:
    assert verdict_of(kinds) == verdict  # type: ignore[arg-type]


def test_the_words_name_the_settings() -> None:
    row = decided(claim(), measured("A", -5, -6, -5.5), measured("B", 5, 6, 5.5))
    assert row_words(row) == "bounded: confirmed in A; refuted in B"


def test_an_open_claim_does_not_repeat_itself() -> None:
    row = decided(claim(), measured("A", -1, 1), measured("B", 1, -1))
    assert row_words(row) == "undecided in A, B"


def test_the_rule_counts_what_is_tested_and_decided() -> None:
    row = decided(claim(), measured("A", -5, -6, -5.5), measured("B", -1, 1), measured("C", 1))
    words = "all 2 tests of this ledger; of the 1 decided settings, at most 5 %"
    assert words in rule_lines([row])[1]
    open_row = decided(claim(), measured("A", -1, 1), measured("B", 1, -1))
    words = "all 2 tests of this ledger; it decides none of them"
    assert rule_lines([open_row])[1].endswith(words)


def test_the_seeds_that_it_takes_are_the_smallest_number_that_decides() -> None:
    values = [-1.0, 1.0, -1.5, 0.5]  # mean -0.25
    n = seeds_to_decide(claim(), values, 0.05)
    assert n is not None
    mean, sd = statistics.mean(values), statistics.stdev(values)

    def clear(count: int) -> bool:
        """Whether the interval of so many values with this mean and deviation is below 0."""
        offsets = np.resize([1.0, -1.0], count) - np.resize([1.0, -1.0], count).mean()
        sample = mean + offsets * sd / offsets.std(ddof=1)
        high = interval(sample.tolist())[2]
        return high is not None and high < 0

    assert clear(n) and not clear(n - 1)
    assert seeds_to_decide(claim(), [1e-9, -1.0, 1.0], 0.05) is None


def test_verdicts_come_in_the_right_proportions() -> None:
    """Half of the settings have their mean on the edge, a quarter each below and above it.

    What is confirmed or refuted on the edge is false. The noise that all settings of a ledger
    share makes the tests dependent, as those of one sweep are.
    """
    random = np.random.default_rng(0)
    means = np.repeat([0.0, -3.0, 3.0], [20, 10, 10])
    truth = np.repeat(["undecided", "confirmed", "refuted"], [20, 10, 10])
    wrong, decided_right, directions = [], [], 0
    for _ in range(100):
        shared = random.normal(size=(1, 5))
        noise = math.sqrt(0.7) * random.normal(size=(40, 5)) + math.sqrt(0.3) * shared
        values = means[:, None] + noise
        row = decided(claim(), *(measured(str(i), *one) for i, one in enumerate(values)))
        verdicts = np.array([one.verdict for one in row.findings])
        some = verdicts != "undecided"
        wrong.append((verdicts != truth)[some].mean() if some.any() else 0.0)
        decided_right.append((verdicts == truth)[truth != "undecided"].mean())
        directions += int((some & (truth != "undecided") & (verdicts != truth)).sum())
    error = 2 * statistics.stdev(wrong) / math.sqrt(len(wrong))
    assert statistics.mean(wrong) < RATE + error
    assert statistics.mean(wrong) > 0.005  # the rate is used
    assert statistics.mean(decided_right) > 0.9  # 5 seeds, three standard deviations away
    assert directions <= 2


def test_a_ledger_of_open_questions_is_mostly_undecided() -> None:
    """Without a correction one or two settings of each ledger would be decided; with it, one of
    20 ledgers decides anything."""
    random = np.random.default_rng(1)
    ledgers_with_any = 0
    for _ in range(100):
        settings = [measured(str(i), *random.normal(size=4)) for i in range(30)]
        row = decided(claim(), *settings)
        ledgers_with_any += any(one.verdict != "undecided" for one in row.findings)
    assert ledgers_with_any <= 12  # 5 are expected


def test_the_page_draws_an_interval_that_ends_at_zero(tmp_path: Path) -> None:
    finding = decided(claim(), measured("A", -1, 1, 0)).findings[0]
    row = LedgerRow(claim(), (finding._replace(low=-4.0, estimate=-2.0, high=0.0),), "undecided")
    write_page([row], [], [], "sqlite:///x", tmp_path / "claims.html")
    page = (tmp_path / "claims.html").read_text()
    ends = re.search(r'<line class="interval" x1="(.*?)" x2="(.*?)"', page)
    assert ends is not None
    # The axis goes from the lowest value to the edge, over the width without its margins.
    assert [float(end) for end in ends.groups()] == [MARGIN, WIDTH - MARGIN]
