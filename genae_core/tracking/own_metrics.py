"""The tag of a run that names the user's own metrics, so that tables and pages know them."""

import json
from collections.abc import Iterable, Mapping

OWN_METRICS = "own_metrics"  # the tag: a JSON object with "lower" or "higher" by name
METRIC_FAILURES = "metric_failures"  # the tag of a run in which one of them has failed
LONGEST_TAG = 4000  # letters


def own_metrics_tag(directions: Mapping[str, str]) -> dict[str, str]:
    """The tag of a run with metrics of the user's own; empty if there are none.

    directions: By name, which values are better, "lower" or "higher".
    """
    return {OWN_METRICS: json.dumps(dict(directions))} if directions else {}


def own_metrics_of(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The user's own metrics that runs name, each with which values are better.

    A tag that cannot be read names none.

    tags: The tags of each run.
    """
    metrics: dict[str, str] = {}
    for text in dict.fromkeys(tags_of_run.get(OWN_METRICS, "{}") for tags_of_run in tags):
        try:
            named = json.loads(text)
        except ValueError:
            continue
        if isinstance(named, dict):
            metrics |= {k: v for k, v in named.items() if v in ("lower", "higher")}
    return metrics
