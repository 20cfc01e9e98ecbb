"""The ledger of a paper's claims from finished sweeps, printed and written as files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from genae_core.config import require, to_strict_json
from genae_core.config.redaction import redact
from genae_core.data import durable
from genae_core.recipes.claim_models import with_measures
from genae_core.recipes.claim_runs import Row, StoredClaim, group_runs, measure, read_runs
from genae_core.recipes.missing_runs import missing_runs
from genae_core.recipes.options import Paper
from genae_core.report.ledger import LedgerRow, decide
from genae_core.report.ledger_page import write_page
from genae_core.report.ledger_text import format_ledger, ledger_values
from genae_core.report.summary_run import PAGE
from genae_core.report.tables import closing_lines, share_rulers
from genae_core.tracking.mlflow_store import StoredRun


def decide_claims(
    claims: Sequence[StoredClaim],
    runs: Sequence[StoredRun],
    paper: Paper = "creswell",
    table_rows: Sequence[Row] = (),
) -> list[LedgerRow]:
    """Decide claims together, and say which runs are missing.

    Args:
        claims: The claims.
        runs: The finished runs.
        paper: The paper of the claims.
        table_rows: The rows of tables that keep no runs.
    """
    groups = group_runs(runs)
    rows = decide([(one.claim, measure(one, groups, table_rows)) for one in claims])
    return [
        row._replace(missing=missing_runs(claim, groups, paper, table_rows))
        for claim, row in zip(claims, rows, strict=True)
    ]


class LedgerSource(NamedTuple):
    """Where the values of a ledger come from.

    Attributes:
        paper: The paper.
        uri: The tracking URI of the store.
        sweeps: The names of the sweeps.
        pages: The folder of all sweeps, in which their pages are.
        latent_dims: The latent dimensions that the ledger is about; None is all.
        shards: The folder or URI of the images, for claims that need the models; None is
            GENAE_HOME.
        tables: The files with the rows of tables that keep no runs, as paper_tables.py writes
            them with --json.
    """

    paper: Paper
    uri: str
    sweeps: Sequence[str]
    pages: Path
    latent_dims: Sequence[int] | None = None
    shards: str | None = None
    tables: Sequence[Path] = ()


def write_ledger(claims: Sequence[StoredClaim], source: LedgerSource, out: Path) -> None:
    """Decide claims from finished sweeps; print the ledger, and write its text, JSON and page.

    Args:
        claims: The claims.
        source: Where the values come from.
        out: The folder of claims.txt, claims.json and claims.html, and of what was measured on
            the models.
    """
    uri, sweeps = source.uri, source.sweeps
    runs = share_rulers(read_runs(uri, sweeps, source.latent_dims)) if sweeps else []
    table_rows = [row for path in source.tables for row in read_table(path)]
    durable.make_folder(out)
    if any(one.needs for one in claims):
        runs = with_measures(runs, claims, uri, out, source.shards)
    rows = decide_claims(claims, runs, source.paper, table_rows)
    about = _about(source, runs)
    text = "\n".join([format_ledger(rows), *about])
    durable.write(out / "claims.txt", text + "\n")
    values = {"sweeps": list(sweeps), "about": about, "claims": ledger_values(rows)}
    durable.write(out / "claims.json", to_strict_json(values))
    # The page of a sweep that ends now is written after the ledger.
    folders = [source.pages / name for name in sweeps]
    sweep_pages = [folder / PAGE for folder in folders if folder.is_dir()]
    write_page(rows, about, sweep_pages, uri, out / "claims.html")
    print(f"\n{text}\n\nledger: {out} (claims.txt, claims.json, claims.html)")


def read_table(path: Path) -> list[Row]:
    """The rows of a table in a file of paper_tables.py --json.

    Raises ValueError if it holds something else.
    """
    rule = "--rows takes a file that paper_tables.py has written with --json"
    try:
        rows = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{rule}, got rows={path}: {error}") from None
    is_table = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    require(is_table, rule, rows=str(path))
    table: list[Row] = rows
    return table


def _about(source: LedgerSource, runs: Sequence[StoredRun]) -> list[str]:
    """Sentences about where the values of a ledger come from."""
    lines = []
    if runs:
        datasets = sorted({run.tags["dataset"] for run in runs})
        seeds = sorted({int(run.tags["seed"]) for run in runs})
        lines.append(
            f"Sweeps: {', '.join(source.sweeps)} in {redact(source.uri)}; "
            f"dataset {', '.join(datasets)}; {len(runs)} finished runs; "
            f"seeds {', '.join(map(str, seeds))}."
        )
        lines += closing_lines(runs)
    if source.tables:
        lines.append(f"Rows of tables: {', '.join(path.name for path in source.tables)}.")
    return lines
