"""Two days of anchors on three kinds of target under random faults; `make soak` runs the whole month."""

from pathlib import Path

import anchor_month
from fault_report import SEED


def test_no_anchor_is_lost_and_none_is_double_whatever_fails(tmp_path: Path) -> None:
    result = anchor_month.simulate(tmp_path, 60, SEED)
    print(f"EARMARK_SEED={SEED}\n{anchor_month.table(result)}")
    assert anchor_month.is_whole(result)
    assert all(found["final"] == found["planned"] > 10 for found in result["targets"].values())
