"""A ledger as a page: one HTML file without scripts, in the style of the explorer page."""

import html
import os
from collections.abc import Sequence
from pathlib import Path

from genae_core.data import durable
from genae_core.report.explorer.data import server_address
from genae_core.report.explorer.page import HERE, style_hash
from genae_core.report.ledger import Claim, Finding, LedgerRow
from genae_core.report.ledger_text import (
    interval_words,
    number,
    row_words,
    rule_lines,
    verdict_words,
)

WIDTH, HEIGHT, MARGIN = 260.0, 18.0, 6.0  # of the drawing of an interval, in px
STYLE = """
.ledger { width: 100%; font-size: .86rem; }
.ledger th { border-bottom: 1px solid var(--soft); padding: .3rem .8rem .3rem 0; }
.ledger td {
  border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0; vertical-align: top;
}
.ledger svg { display: block; }
.claimed { fill: var(--accent); opacity: .14; }
.interval { stroke: var(--ink); stroke-width: 1.4; }
.estimate { fill: var(--ink); }
.confirmed { color: var(--c2); } .refuted { color: var(--c10); } .bounded { color: var(--c1); }
section { content-visibility: visible; }
"""


def write_page(
    rows: Sequence[LedgerRow],
    about: Sequence[str],
    sweep_pages: Sequence[Path],
    uri: str,
    out: Path,
) -> None:
    """Write the page of a ledger, completely or not at all.

    Args:
        rows: The ledger.
        about: Sentences about where its values come from.
        sweep_pages: The pages of the sweeps, which show the samples.
        uri: The tracking URI of the store. Runs on a server get links.
        out: The HTML file.
    """
    title = "The ledger of claims"
    style = (HERE / "page.css").read_text(encoding="utf-8") + STYLE
    policy = f"default-src 'none'; style-src {style_hash(style)}; base-uri 'none'"
    links = "".join(
        f'<p><a href="{html.escape(os.path.relpath(page, out.parent), quote=True)}">'
        f"Samples and curves of {html.escape(page.parent.name)}</a></p>"
        for page in sweep_pages
    )
    body = "".join(_section(row, server_address(uri)) for row in rows)
    rule = "".join(_paragraph(line) for line in rule_lines(rows))
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{title}</h1></header>\n<main>\n<section>"
        f"{''.join(map(_paragraph, about))}{links}{_overview(rows)}</section>\n{body}"
        f"<section><h2>The rule</h2>{rule}</section>\n</main>\n</body>\n</html>\n"
    )
    durable.write(out, text)


def _overview(rows: Sequence[LedgerRow]) -> str:
    """The table of all claims."""
    lines = "".join(
        f'<tr><td><a href="#{row.claim.name}">{html.escape(row.claim.text)}</a></td>'
        f"<td>{html.escape(row.claim.source)}</td>"
        f'<td class="{row.verdict}">{row.verdict}</td></tr>'
        for row in rows
    )
    return (
        '<div class="wide"><table class="ledger"><thead><tr><th>claim</th><th>source</th>'
        f"<th>verdict</th></tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _section(row: LedgerRow, server: str | None) -> str:
    """A claim with the table of its settings."""
    claim = row.claim
    words = [
        f"{claim.source}. {claim.statistic}; claimed: {claim.region}.",
        f"{row_words(row)}.",
        *([row.missing] if row.missing else []),
    ]
    head = "".join(
        f"<th>{name}</th>"
        for name in ("setting", "estimate", "95 % interval", "", "seeds", "verdict", "runs")
    )
    span = _span(row)
    lines = "".join(_line(claim, one, span, server) for one in row.findings)
    table = f'<table class="ledger"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'
    return (
        f'<section id="{claim.name}"><h2>{html.escape(claim.text)}</h2>'
        f"{''.join(map(_paragraph, words))}"
        f'{f"""<div class="wide">{table}</div>""" if row.findings else ""}</section>\n'
    )


def _line(claim: Claim, one: Finding, span: tuple[float, float], server: str | None) -> str:
    """The row of a setting."""
    cells = (
        html.escape(one.setting),
        number(one.estimate),
        interval_words(one),
        _drawing(claim, one, span),
        str(one.seeds),
        f'<span class="{one.verdict}">{verdict_words(one)}</span>',
        f"<details><summary>{len(one.run_ids)}</summary>"
        f"{'<br>'.join(_run(run_id, server) for run_id in one.run_ids)}</details>",
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _run(run_id: str, server: str | None) -> str:
    """The id of a run, which is a link if the store is a server."""
    name = html.escape(run_id)
    # MLflow finds the experiment of a run by itself.
    return name if server is None else f'<a href="{html.escape(server)}/#/runs/{name}">{name}</a>'


def _span(row: LedgerRow) -> tuple[float, float]:
    """The ends of the axis on which the intervals of a claim are drawn."""
    claim = row.claim
    values = list(claim.edges)
    for one in row.findings:
        ends = (one.estimate, one.low, one.high)
        values += [claim.scaled(value) for value in ends if value is not None]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 1, high + 1)


def _drawing(claim: Claim, one: Finding, span: tuple[float, float]) -> str:
    """The interval of a setting over the claimed region."""
    low, high = span

    def place(value: float) -> float:
        inside = (claim.scaled(value) - low) / (high - low)
        return MARGIN + (WIDTH - 2 * MARGIN) * inside

    left = place(claim.low) if claim.low > claim.unscaled(low) else 0.0
    right = place(claim.high) if claim.high < claim.unscaled(high) else WIDTH
    middle = HEIGHT / 2
    bar = [place(one.estimate if end is None else end) for end in (one.low, one.high)]
    return (
        f'<svg width="{WIDTH:g}" height="{HEIGHT:g}" role="img" '
        f'aria-label="{interval_words(one)}">'
        f'<rect class="claimed" x="{left:.1f}" y="0" width="{right - left:.1f}" '
        f'height="{HEIGHT:g}"/>'
        f'<line class="interval" x1="{bar[0]:.1f}" x2="{bar[1]:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle class="estimate" cx="{place(one.estimate):.1f}" cy="{middle}" r="3"/></svg>'
    )


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
