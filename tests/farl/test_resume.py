"""An interrupted fit goes on to the same final weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from farl_samples import fit, picture, same, weights

from overtone.training import Bar, Checkpoints, TrainingConfig

TRAINING = TrainingConfig(epochs=3, batch_size=4)


def test_a_fit_interrupted_within_an_epoch_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Bar, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            raise KeyboardInterrupt

    unbroken = fit(training=TRAINING)
    with monkeypatch.context() as patch:
        patch.setattr(Bar, "on_step_end", stop)
        patch.setattr(Checkpoints, "SECONDS", 0.0)
        patch.setattr(Checkpoints, "STEPS", 1)
        with pytest.raises(KeyboardInterrupt):
            fit(training=TRAINING, checkpoints=tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-1"]
    resumed = fit(training=TRAINING, checkpoints=tmp_path, resume=True)
    assert same(weights(unbroken), weights(resumed))


@pytest.mark.parametrize("injection", ["by_modality", "by_depth"])
def test_a_fit_interrupted_after_an_epoch_ends_the_same(
    injection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Bar, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.epoch is not None and state.epoch >= 1:
            raise KeyboardInterrupt

    unbroken = fit(injection=injection, training=TRAINING, amplitude_mix=True)
    with monkeypatch.context() as patch:
        patch.setattr(Bar, "on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(injection=injection, training=TRAINING, amplitude_mix=True, checkpoints=tmp_path)
    torch.manual_seed(77)
    resumed = fit(injection=injection, training=TRAINING, amplitude_mix=True, checkpoints=tmp_path, resume=True)
    assert same(weights(unbroken), weights(resumed))
    assert torch.equal(unbroken.predict([picture(3)]), resumed.predict([picture(3)]))
    assert [record["loss"] for record in resumed.log] == [record["loss"] for record in unbroken.log]
