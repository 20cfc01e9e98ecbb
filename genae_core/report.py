"""The table at the end of a sweep, read back from the store, and the curves as a picture."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from genae_core.progress import decimals
from genae_core.tracking import Curve

STEPS = (0, 1, 5, 10)

Group = tuple[str, int, str]  # family, latent dimension, what the chain is


def groups(curves: Iterable[Curve]) -> dict[Group, list[Curve]]:
    """Finished runs by cell and chain setting, over their seeds, in the order of their names."""
    found: dict[Group, list[Curve]] = defaultdict(list)
    for curve in curves:
        if curve.status == "FINISHED":
            tags = curve.tags
            key = (tags["family"], int(curve.params["model.latent_dim"]), tags["chain"])
            found[key].append(curve)
    return {key: found[key] for key in sorted(found)}


def table(curves: list[Curve]) -> str:
    """One row a cell and chain setting: FCD as mean +- sd over seeds; plain text.

    "best" is the FCD at the step chosen on validation (the median over seeds is shown), and
    the ratios divide by the FCD of real training images: 1.0 is the floor.
    """
    cells = groups(curves)
    chains = {chain for _, _, chain in cells}
    head = [
        "family",
        "latent",
        *(["chain"] if len(chains) > 1 else []),
        "seeds",
        *(f"FCD step {step}" for step in STEPS),
        "best",
        "at step",
        "best/step 0",
        "step 0/real",
        "best/real",
    ]
    rows = [head]
    for (family, latent_dim, chain), runs in cells.items():
        best = [run.scalars["fcd_best"] for run in runs]
        start = [run.scalars["fcd_step0"] for run in runs]
        floor = [run.scalars["fcd_floor"] for run in runs]
        at = statistics.median(run.scalars["fcd_best_step"] for run in runs)
        rows.append(
            [
                family,
                str(latent_dim),
                *([chain] if len(chains) > 1 else []),
                str(len(runs)),
                *(_spread([run.chain["fcd"].get(step) for run in runs]) for step in STEPS),
                _spread(best),
                f"{at:g}",
                _ratio(best, start, 2),
                _ratio(start, floor, 1),
                _ratio(best, floor, 1),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _ratio(values: list[float], others: list[float], digits: int) -> str:
    """The ratio of the means; a dash where the other mean is 0."""
    other = statistics.mean(others)
    return f"{statistics.mean(values) / other:.{digits}f}" if other > 0 else "-"


def draw_curves(curves: list[Curve], path: Path) -> None:
    """FCD against MCMC step, a panel a chain setting and latent dimension, a line a family: the
    mean over seeds with its standard deviation as a band. PNG."""
    import matplotlib  # noqa: PLC0415  only here, and slow to import

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    cells = groups(curves)
    if not cells:
        return
    chains = sorted({chain for _, _, chain in cells})
    dims = sorted({latent_dim for _, latent_dim, _ in cells})
    families = list(dict.fromkeys(family for family, _, _ in cells))
    figure, axes = pyplot.subplots(
        len(chains),
        len(dims),
        squeeze=False,
        sharex=True,
        figsize=(1.2 + 3.2 * len(dims), 0.8 + 2.6 * len(chains)),
        layout="constrained",
    )
    for (family, latent_dim, chain), runs in cells.items():
        axis = axes[chains.index(chain)][dims.index(latent_dim)]
        steps = sorted(runs[0].chain["fcd"])
        values = [[run.chain["fcd"][step] for run in runs] for step in steps]
        mean = [statistics.mean(at) for at in values]
        sd = [statistics.stdev(at) if len(at) > 1 else 0.0 for at in values]
        color = f"C{families.index(family)}"
        axis.plot(steps, mean, marker="o", markersize=3, color=color, label=family)
        axis.fill_between(
            steps,
            [m - s for m, s in zip(mean, sd, strict=True)],
            [m + s for m, s in zip(mean, sd, strict=True)],
            alpha=0.2,
            color=color,
        )
        axis.set_title(f"latent dimension {latent_dim}, {chain}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("MCMC step")
    for row in axes:
        row[0].set_ylabel("FCD")
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _spread(values: list[float | None] | list[float]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = statistics.mean(known)
    digits = decimals(mean)
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean:.{digits}f}{spread}"
