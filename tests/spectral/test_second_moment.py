"""The running second moment against the sum it stands for."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from spectral_samples import drawn

from overtone.spectral import SecondMoment, partition, partition_values, sum_over_processes

examples = settings(max_examples=25, deadline=None)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(0.05, 1), st.integers(0, 2**31))
@examples
def test_it_is_the_weighted_sum_of_all_samples(sizes, decay, seed):
    moment, batches = SecondMoment(decay), [drawn(size, 5, seed + i, torch.float64) for i, size in enumerate(sizes)]
    for batch in batches:
        moment.update(batch)
    w = np.concatenate([np.full(len(b), decay ** (len(sizes) - 1 - i)) for i, b in enumerate(batches)])
    F = torch.cat(batches).numpy()
    np.testing.assert_allclose(moment.total, (F.T * w) @ F, rtol=1e-9, atol=1e-12)
    assert moment.samples == pytest.approx(w.sum() ** 2 / (w**2).sum())


def test_a_stream_has_the_spectrum_of_the_whole():
    F, moment = drawn(1000, 16, dtype=torch.float64), SecondMoment()
    for batch in F.split(96):
        moment.update(batch)
    values, V = moment.principal_basis()
    assert moment.samples == pytest.approx(1000)
    np.testing.assert_allclose(values, np.linalg.svd(F.numpy(), compute_uv=False), rtol=1e-10)
    torch.testing.assert_close((F @ V).norm(dim=0), values)
    assert partition_values(values, moment.samples, 16).sigma == pytest.approx(partition(F).sigma)


@pytest.mark.parametrize(("batch", "decay"), [(64, 0.95), (16, 0.95), (128, 0.8)])
def test_noise_under_exponential_weights_is_noise_to_one_percent(batch, decay):
    moment = SecondMoment(decay)
    for step in range(100):
        moment.update(drawn(batch, 64, step))
    parts = partition_values(moment.principal_basis()[0], moment.samples, 64)
    assert parts.sigma == pytest.approx(1, rel=0.03)
    assert parts.strong.count == 0
    assert float(parts.values[0]) < 1.01 * parts.edge


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_a_batch_that_is_not_finite_is_left_out(bad):
    moment, twin = SecondMoment(0.9), SecondMoment(0.9)
    broken = drawn(4, 3)
    broken[2, 1] = bad  # 1e30 has no square in float32
    for batch in (drawn(4, 3, 1), broken, drawn(4, 3, 2)):
        moment.update(batch)
    for batch in (drawn(4, 3, 1), drawn(4, 3, 2)):
        twin.update(batch)
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in moment.state_dict().items())


def test_it_can_begin_with_a_batch_that_is_not_finite():
    moment = SecondMoment()
    moment.update(torch.full((4, 3), torch.nan))
    assert moment.samples == 0
    assert (moment.principal_basis()[0] == 0).all()


@pytest.mark.parametrize("file", ["safetensors", "torch"])
def test_a_new_one_takes_the_state_of_another(file):
    moment, restored = SecondMoment(0.9), SecondMoment(0.9)
    moment.update(drawn(10, 4))
    if file == "safetensors":
        state = load(save(moment.state_dict()))
    else:
        torch.save(moment.state_dict(), stream := io.BytesIO())
        stream.seek(0)
        state = torch.load(stream, weights_only=True)
    restored.load_state_dict(state)
    for one in (moment, restored):
        one.update(drawn(10, 4, 1))
    assert all(torch.equal(value, restored.state_dict()[name]) for name, value in moment.state_dict().items())


def test_bfloat16_features_are_summed_in_float32():
    F, moment = drawn(64, 8).bfloat16(), SecondMoment()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moment.update(F)
    torch.testing.assert_close(moment.total, F.float().T @ F.float())


def test_it_lets_no_gradient_through():
    moment = SecondMoment()
    moment.update(drawn(4, 3).requires_grad_())
    assert not moment.total.requires_grad


def test_another_width_is_refused():
    moment = SecondMoment()
    moment.update(drawn(4, 3))
    with pytest.raises(ValueError, match="3 wide as those before, got 5"):
        moment.update(drawn(4, 5))


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.1, float("nan")])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        SecondMoment(decay)


def test_one_process_is_its_own_sum():
    x = drawn(2, 3)
    assert sum_over_processes(x) is x
