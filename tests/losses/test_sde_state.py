"""What SDE remembers: saved, restored, replayed, and not spoilt by a bad batch."""

from itertools import pairwise

import pytest
import torch
from loss_samples import drawn, pairs
from safetensors.torch import load, save

from overtone.losses import SDE, SDEConfig
from overtone.spectral import partition_values

CONFIG = SDEConfig(refresh=3, steps=8)


def values(loss, steps):
    return [float(loss(*pairs(seed=10 * step), 20.0)) for step in steps]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stopped", [1, 2, 3, 4, 7])
def test_a_resumed_run_is_the_uninterrupted_one(stopped):
    """Bit for bit, also where the basis is older than the second moment, and through a safetensors file."""
    whole, first, second = SDE(config=CONFIG), SDE(config=CONFIG), SDE(config=CONFIG)
    expected = values(whole, range(10))
    values(first, range(stopped))
    torch.manual_seed(123)  # the perturbation does not hang on torch's own generator
    second.load_state_dict(load(save(first.state_dict())))
    assert values(second, range(stopped, 10)) == expected[stopped:]
    assert same(second.state_dict(), whole.state_dict())


def test_a_state_of_another_width_is_taken_too():
    wide, narrow = SDE(config=CONFIG), SDE(config=CONFIG)
    wide(*pairs(width=24), 20.0)
    narrow(*pairs(width=16), 20.0)
    narrow.load_state_dict(wide.state_dict())
    assert same(narrow.state_dict(), wide.state_dict())


def test_it_is_saved_as_part_of_a_model():
    def model():
        return torch.nn.ModuleDict({"tower": torch.nn.Linear(2, 2), "loss": SDE(config=CONFIG)})

    trained, restored = model(), model()
    values(trained["loss"], range(4))
    restored.load_state_dict(load(save(trained.state_dict())))
    assert restored["loss"].step == 4
    assert same(restored.state_dict(), trained.state_dict())


def test_replays_repeat_the_step_and_move_nothing():
    loss = SDE(config=CONFIG)
    first = float(loss(*pairs(), 20.0))
    state = {name: value.clone() for name, value in loss.state_dict().items()}
    with loss.replay():
        assert [float(loss(*pairs(), 20.0)) for _ in range(3)] == [first] * 3
        assert float(loss(*pairs(seed=7), 20.0)) != first
    assert same(loss.state_dict(), state)
    assert float(loss(*pairs(), 20.0)) != first  # a new step: a new perturbation


def test_gradients_of_a_batch_replayed_in_parts_are_those_of_the_batch():
    """As gradient caching does: the loss of all features, its gradient given to one part of them at a time."""
    x, y = (F.requires_grad_() for F in pairs())
    loss = SDE(config=CONFIG)
    expected = torch.autograd.grad(loss(x, y, 20.0), (x, y))
    parts = []
    with loss.replay():
        for rows in torch.arange(48).split(16):
            held = [F.detach().index_copy(0, rows, F[rows]) for F in (x, y)]
            parts.append(torch.autograd.grad(loss(*held, 20.0), (x, y)))
    for ours, whole in zip(map(sum, zip(*parts, strict=True)), expected, strict=True):
        torch.testing.assert_close(ours, whole)


def test_a_first_call_is_a_step_even_in_a_replay():
    loss = SDE()
    with loss.replay():
        loss(*pairs(), 20.0)
    assert loss.step == 1


@pytest.mark.parametrize("step", [0, 2])
def test_a_batch_with_nan_gives_nan_and_leaves_no_trace(step):
    loss, twin = SDE(config=CONFIG), SDE(config=CONFIG)
    for i in range(6):
        x, y = pairs(seed=10 * i)
        if i != step:
            twin(x, y, 20.0)
        else:
            x[1, 1] = torch.nan
        assert loss(x, y, 20.0).isnan() == (i == step)
    assert torch.equal(loss.image.moment.total, twin.image.moment.total)
    assert loss.image.moment.samples == twin.image.moment.samples
    assert loss.state_dict()["image.V"].isfinite().all()


def test_the_basis_is_refreshed_every_so_many_steps():
    loss, bases = SDE(config=CONFIG), []
    for step in range(7):
        loss(*pairs(seed=10 * step), 20.0)
        bases.append(loss.image.V)
    changed = [not torch.equal(a, b) for a, b in pairwise(bases)]
    assert changed == [False, False, True, False, False, True]


def test_the_second_moment_tells_the_parts_for_curves():
    loss = SDE()
    for step in range(5):
        loss(*pairs(seed=10 * step), 20.0)
    moment = loss.image.moment
    parts = partition_values(moment.principal_basis()[0], moment.samples, 24)
    assert parts.strong.count >= 3  # the strong directions that all batches share
    assert parts.noise.count > 12


def test_features_of_another_width_are_refused():
    loss = SDE()
    loss(*pairs(width=24), 20.0)
    with pytest.raises(ValueError, match="24 wide as those before, got 16"):
        loss(*pairs(width=16), 20.0)


def test_casting_the_model_casts_no_later_sums():
    loss = SDE(config=CONFIG).bfloat16()
    loss(*pairs(), 20.0)
    loss.bfloat16()
    loss(*pairs(seed=10), 20.0)
    assert loss.image.moment.total.dtype == torch.float32
    assert loss(drawn(48, 24), drawn(48, 24, 1), 20.0).dtype == torch.float32
