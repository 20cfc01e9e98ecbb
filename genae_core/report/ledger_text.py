"""A ledger as text and as JSON values."""

from collections.abc import Sequence
from typing import Any

from genae_core.report.formatting import decimals
from genae_core.report.ledger import MOST_SEEDS, Finding, LedgerRow, SettingVerdict
from genae_core.report.tables import align_columns


def format_ledger(rows: Sequence[LedgerRow]) -> str:
    """Return a ledger as text: a paragraph and a table for each claim, and the rule."""
    paragraphs = []
    for row in rows:
        claim = row.claim
        lines = [
            f"{claim.name}: {row_words(row)}",
            f"  {claim.text} ({claim.source}).",
            f"  {claim.statistic}; claimed: {claim.region}",
        ]
        if row.findings:
            head = ["setting", "estimate", "95 % interval", "seeds", "verdict"]
            cells = [
                [
                    one.setting,
                    number(one.estimate),
                    interval_words(one),
                    str(one.seeds),
                    verdict_words(one),
                ]
                for one in row.findings
            ]
            lines.append(align_columns([head, *cells]))
        if row.missing:
            lines.append(f"  {row.missing}")
        paragraphs.append("\n".join(lines))
    return "\n\n".join([*paragraphs, "\n".join(rule_lines(rows))])


def ledger_values(rows: Sequence[LedgerRow]) -> list[dict[str, Any]]:
    """Return a ledger as JSON values, an object for each claim. An edge that is None is open."""
    return [
        {
            "claim": row.claim.name,
            "text": row.claim.text,
            "source": row.claim.source,
            "statistic": row.claim.statistic,
            "claimed": row.claim.region,
            "verdict": row.verdict,
            "words": row_words(row),
            "missing": row.missing,
            "settings": [{**one._asdict(), "run_ids": list(one.run_ids)} for one in row.findings],
        }
        for row in rows
    ]


def rule_lines(rows: Sequence[LedgerRow]) -> list[str]:
    """Return sentences about the rule, which stand below a ledger."""
    findings = [one for row in rows for one in row.findings]
    tested = sum(one.adjusted is not None for one in findings)
    decided = sum(one.verdict != "undecided" for one in findings)
    share = f"of the {decided} decided settings, at most 5 % are expected to be wrong"
    return [
        "estimate: the mean over seeds with its 95 % interval by Student's t; of a ratio, the "
        "geometric mean",
        "setting: confirmed or refuted if the interval lies on one side of each edge of the "
        f"claimed region, also after Benjamini and Hochberg's correction for all {tested} tests "
        f"of this ledger; {share if decided else 'it decides none of them'}",
        "claim: confirmed or refuted in all settings; bounded if it holds in some and fails in "
        "others; undecided if the open settings could change the verdict",
    ]


def number(value: float) -> str:
    """Return a value as the ledger shows it."""
    return f"{value:.{decimals(value)}f}" if abs(value) < 1e6 else f"{value:.2g}"


def interval_words(finding: Finding) -> str:
    """Return the 95 % interval in words; a dash for one seed."""
    if finding.low is None or finding.high is None:
        return "-"
    return f"{number(finding.low)} to {number(finding.high)}"


def verdict_words(finding: Finding) -> str:
    """Return the verdict on a setting, with the seeds that an undecided one would take."""
    if finding.verdict != "undecided":
        return finding.verdict
    if finding.adjusted is None:
        return "undecided: one seed has no interval"
    if finding.seeds_needed is None:
        return f"undecided: more than {MOST_SEEDS} seeds"
    return f"undecided: about {max(finding.seeds_needed, finding.seeds + 1)} seeds"


def row_words(row: LedgerRow) -> str:
    """Return the verdict on a claim, with the settings that it names."""
    if row.verdict == "not measured":
        return row.verdict
    if len({one.verdict for one in row.findings}) == 1:
        return f"{row.verdict} in {', '.join(one.setting for one in row.findings)}"
    kinds: tuple[SettingVerdict, ...] = ("confirmed", "refuted", "undecided")
    parts = [(kind, row.settings(kind)) for kind in kinds]
    words = "; ".join(f"{kind} in {', '.join(names)}" for kind, names in parts if names)
    return f"{row.verdict}: {words}"
