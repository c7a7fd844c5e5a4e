"""Two processes with half of every batch each are one process with all of it."""

import pytest
import sde_processes
import torch
from safetensors.torch import load_file
from torch import multiprocessing


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(sde_processes.run, args=(2, str(folder)), nprocs=2)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def test_weights_and_state_are_those_of_one_process(outcomes):
    expected = sde_processes.train(0, 1, distributed=False)
    for outcome in outcomes:
        for name in expected.keys() - {"losses", "image.V", "text.V"}:
            torch.testing.assert_close(outcome[name], expected[name], rtol=1e-9, atol=1e-12, msg=name)  # float64
        for name in ("image.V", "text.V"):  # columns up to their signs
            torch.testing.assert_close(outcome[name].abs(), expected[name].abs(), rtol=1e-6, atol=1e-8, msg=name)


def test_the_mean_of_their_losses_is_the_loss(outcomes):
    expected = sde_processes.train(0, 1, distributed=False)["losses"]
    torch.testing.assert_close((outcomes[0]["losses"] + outcomes[1]["losses"]) / 2, expected, rtol=1e-9, atol=0)


def test_processes_agree_to_the_last_bit(outcomes):
    for name in outcomes[0].keys() - {"losses"}:
        assert torch.equal(outcomes[0][name], outcomes[1][name]), name
