"""Content-adaptive K: the budget is met, the rest is SHFIN."""

import pytest
import torch

from overtone.nn import SHFIN, AdaptiveSHFIN


def adaptive(budget: float, kept: int = 8) -> AdaptiveSHFIN:
    torch.manual_seed(0)
    made = AdaptiveSHFIN(6, 4, kept, 2, budget).double()
    made.reset_buffers()
    return made


def pictures(batch: int = 4) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, 8, 8, 6, dtype=torch.float64)


def kept(made: AdaptiveSHFIN, x: torch.Tensor) -> torch.Tensor:
    _, Z = made.analyse(x, None)
    return made.alive(Z).sum(1)


def test_with_the_whole_budget_it_is_shfin() -> None:
    made, x = adaptive(budget=8), pictures()
    plain = SHFIN(6, 4, 8, 2).double()
    plain.reset_buffers()
    plain.load_state_dict({name: value for name, value in made.state_dict().items() if name != "share"})
    torch.testing.assert_close(made.train()(x), plain.train()(x))
    torch.testing.assert_close(made.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("budget", [1, 2.5, 5])
def test_the_budget_is_met_on_the_batch(budget: float) -> None:
    found = kept(adaptive(budget).train(), pictures(16)).double()
    assert abs(float(found.mean()) - budget) <= 0.5 / len(found)  # rounded to whole frequencies of all patches


def test_simple_patches_keep_fewer() -> None:
    made = adaptive(4).train()
    x = pictures(8)
    x[:4] = x[:4, :1, :1].clone()  # even patches: frequency 0 alone
    found = kept(made, x).view(8, -1).double().mean(1)
    assert (found[:4] == 1).all()
    assert (found[4:] > 4).all()


def test_at_evaluation_the_running_mean_decides_whatever_the_batch() -> None:
    made, x = adaptive(3), pictures(8)
    made.train()(x)
    made.eval()
    assert 0 < made.share < 1
    torch.testing.assert_close(made(x)[2:3], made(x[2:3]))


def test_what_is_dropped_is_neither_attended_to_nor_put_out() -> None:
    made, x = adaptive(2).train(), pictures()
    Z = torch.randn(5, 16, 6, dtype=torch.float64)
    made.share.fill_(0.2)
    made.eval()
    alive = made.alive(Z)
    dead = (~alive).repeat_interleave(2, dim=1)
    mixed = made.mix(Z, made.theta[:8])
    assert (mixed[dead] == 0).all()
    weaker = Z.clone()
    weaker[dead] *= 0.5
    kept_share = torch.equal(made.alive(weaker), alive)
    assert not kept_share or torch.allclose(made.mix(weaker, made.theta[:8]), mixed)
    assert made(x).isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_patches_of_zeros_keep_one_and_take_nothing_of_the_budget(training: bool) -> None:
    made, x = adaptive(4).train(training), pictures(8)
    alone = kept(made, x[:4])
    x[4:] = 0
    found = kept(made, x)
    assert torch.equal(found[: len(alone)], alone)
    assert (found[len(alone) :] == 1).all()


def test_empty_patches_give_finite_values_and_gradients() -> None:
    made = adaptive(2).train()
    x = torch.zeros(1, 8, 8, 6, dtype=torch.float64, requires_grad=True)
    made(x).sum().backward()
    assert x.grad.isfinite().all()
    assert made.share == 0


def test_refuses_a_budget_out_of_range() -> None:
    with pytest.raises(ValueError, match="budget must be from 1 to kept = 8, got 9"):
        adaptive(9)
