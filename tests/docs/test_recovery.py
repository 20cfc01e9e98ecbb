"""docs/recovery.md names tests that exist."""

import re

from contracts.scripts import ROOT

PAGE = ROOT / "docs" / "recovery.md"


def test_the_tests_that_the_page_names_exist() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    named = 0
    for row in rows:
        folder = ROOT
        for name in re.findall(r"`((?:tests/)?[\w/]*test_\w+\.py)`", row):
            path = ROOT / name if name.startswith("tests/") else folder / name
            assert path.is_file(), row
            folder, named = path.parent, named + 1
    assert named > 30
