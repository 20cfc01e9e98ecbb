"""The printed table of paper_tables.py."""

import pytest

from genae_core.recipes.paper_rows import Row, print_rows


def test_a_small_value_keeps_its_digits_and_a_large_one_has_few(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows(
        [
            Row(name="nats", paper=None, mean=0.034, low=-0.01, high=0.078, n=3),
            Row(name="percent", paper=5.0, mean=47.06, low=40.04, high=54.08, n=3),
            Row(name="FCD", paper=None, mean=2422.4, n=1, fcd_ratio=283.6, ruler="sound"),
        ]
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[2:5] == [
        ["nats", "-", "0.034", "-0.010", "to", "0.078", "3", "-"],
        ["percent", "5.00", "47.1", "40.0", "to", "54.1", "3", "-"],
        ["FCD", "-", "2422", "-", "1", "283.6"],
    ]
    assert rows[-1] == ["ruler:", "sound"]
