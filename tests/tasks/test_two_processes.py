"""Two processes that share every batch end where one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from two_processes import run

from overtone.errors import UserError
from overtone.tasks.train import TrainConfig, train

SCRIPT = Path(__file__).parent / "two_processes.py"


@pytest.mark.timeout(900)  # three starts of Python and torch, on a machine that may be busy
def test_the_result_is_that_of_one(photos: Path, tmp_path: Path) -> None:
    """Views, mixup, frequencies' noise and schedule are the same; gradients are summed in another order."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(photos), str(tmp_path / "two")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    run(str(photos), str(tmp_path / "one"))
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name, weight in one.items():
        # 1e-7 is what another order of summing leaves; other data or other noise would move weights by steps of 1e-3.
        assert torch.allclose(weight, two[name], atol=1e-5), name
    scores = [json.loads((tmp_path / name / "metrics.json").read_text())["top1"] for name in ("one", "two")]
    assert scores[0] == scores[1]
    settings = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("one", "two")]
    assert [kept["processes"] for kept in settings] == [1, 2]
    assert not (tmp_path / "two" / "checkpoints").exists()


def test_several_processes_must_agree_on_the_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="With several processes, name the run folder with --out"):
        train(TrainConfig(str(photos), device="cpu"))
