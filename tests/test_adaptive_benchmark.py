"""What the benchmark of content-adaptive K counts."""

import sys
from pathlib import Path

import pytest
import torch
from benchmarks import adaptive
from benchmarks.adaptive import MOST, ROWS, frequencies_kept, network

PICTURES = torch.randn(32, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_all_rows_have_the_same_weights() -> None:
    assert len({network(row, 0).num_parameters() for row in ROWS}) == 1


@pytest.mark.parametrize("row", ROWS)
def test_kept_counts_what_a_patch_keeps(row: str) -> None:
    model = network(row, 0)
    model.train()(PICTURES)  # sets the threshold of the adaptive ones
    counted = frequencies_kept(model, PICTURES)
    if "budget" not in ROWS[row]:
        assert counted == ROWS[row]["kept"]
        return
    wanted = [max(1.0, ROWS[row]["budget"] * most) for most in MOST]
    # at evaluation every patch keeps its strongest, whatever the threshold: a little above a budget near 1
    assert counted == pytest.approx(wanted, rel=0.2)


def test_counting_leaves_no_hooks_and_the_mode() -> None:
    model = network("mean K = 4", 0)
    model.train()(PICTURES)
    frequencies_kept(model, PICTURES)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_the_table_and_the_curve(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    figures = {"accuracy": 0.8, "first": 4.0, "second": 2.5, "work": 3.4e6, "seconds": 10.0}
    monkeypatch.setattr(adaptive, "run", lambda row, seed, options: figures | {"accuracy": 0.8 + seed / 100})
    monkeypatch.setattr(sys, "argv", ["adaptive", "--seeds", "1", "2", "--out", str(tmp_path / "a.png")])
    adaptive.main()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in table[1:]] == list(ROWS)
    assert "81.5 ± 0.7" in table[1]
    assert (tmp_path / "a.png").stat().st_size > 1000
