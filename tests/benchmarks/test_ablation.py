"""The recipe without its parts is asked for in the example's own file."""

from __future__ import annotations

import pytest
from benchmarks.results import ROOT

from benchmarks import ablation
from slmops.stages.project import Project

_FILE = ROOT / "examples" / "support-triage" / "development.yaml"
_WHOLE = Project.load(_FILE)


@pytest.mark.parametrize("row", ablation.ROWS, ids=lambda row: row.id)
def test_a_row_is_a_variant_that_differs_from_the_whole(row: ablation.Asked) -> None:
    variant = Project.load(_FILE, row.id.removeprefix("ablation-"))
    assert variant.model_dump() != _WHOLE.model_dump()
    assert variant.shipped() == "int4" and variant.data.test == _WHOLE.data.test
