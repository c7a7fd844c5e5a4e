"""Two processes with half of a batch each have the loss, gradient and state of one process with all of it."""

import gathering_processes
import pytest
import torch
from loss_samples import drawn
from safetensors.torch import load_file
from torch import multiprocessing

from overtone.losses import InfoNCE, SigLIP, gathered


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(gathering_processes.run, args=(2, str(folder)), nprocs=2)
    return {(rank, chunk): load_file(folder / f"{rank}-{chunk}.safetensors") for rank in range(2) for chunk in (0, 4)}


@pytest.fixture(scope="module")
def alone():
    """One process, the whole batch, no chunks."""
    return gathering_processes.train(0, 1)


@pytest.mark.parametrize("chunk", [0, 4])
def test_gradients_weights_and_state_are_those_of_one_process(outcomes, alone, chunk):
    for rank in range(2):
        outcome = outcomes[rank, chunk]
        assert outcome.keys() == alone.keys()
        for name, expected in alone.items():
            if name.endswith("losses"):
                continue
            found = outcome[name]
            if name.endswith(".V"):  # columns up to their signs
                found, expected = found.abs(), expected.abs()
            # float64, added up in another order; what stands on a basis is one decomposition further away
            torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10, msg=name)


@pytest.mark.parametrize("chunk", [0, 4])
@pytest.mark.parametrize("loss", gathering_processes.losses(False))
def test_the_mean_of_their_losses_is_the_loss(outcomes, alone, loss, chunk):
    mean = sum(outcomes[rank, chunk][f"{loss} losses"] for rank in range(2)) / 2
    torch.testing.assert_close(mean, alone[f"{loss} losses"], rtol=1e-9, atol=0)


def test_negatives_of_the_other_process_count(outcomes, alone):
    """The loss of each half by itself is another: half as many negatives."""
    halves = [gathering_processes.drawn(12, 12, i, torch.float64).chunk(2) for i in (1, 2)]
    encoders = gathering_processes.Encoders().double()
    local = [InfoNCE()(*encoders(images, texts)) for images, texts in zip(*halves, strict=True)]
    assert sum(local) / 2 < alone["infonce losses"][0] - 0.3


@pytest.mark.parametrize("loss", [InfoNCE, SigLIP])
def test_with_one_process_distributed_changes_nothing(loss):
    x, y = drawn(6, 5, 1), drawn(6, 5, 2)
    torch.testing.assert_close(loss(distributed=True)(x, y, 10.0), loss()(x, y, 10.0))  # products in another order
    assert gathered(x) is x
