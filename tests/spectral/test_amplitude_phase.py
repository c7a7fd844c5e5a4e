"""Amplitude and phase of pictures against numpy's float64 transform and the properties of the Fourier transform."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from overtone.spectral import amplitude_mix, amplitude_only, amplitude_phase, phase_only, swap_low_amplitude

VIEWS = [phase_only, amplitude_only]
sizes = st.tuples(st.integers(2, 13), st.integers(2, 13))  # even and odd
seeds = st.integers(0, 2**31)
examples = settings(max_examples=25, deadline=None)


def pictures(size, seed, batch=(2, 3), dtype=torch.float32):
    return torch.rand(*batch, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def numpy_mix(x, other, lam):
    fx, fo = np.fft.fft2(x.double().numpy()), np.fft.fft2(other.double().numpy())
    return np.fft.ifft2(((1 - lam) * np.abs(fx) + lam * np.abs(fo)) * np.exp(1j * np.angle(fx))).real


def numpy_fda(x, other, fraction):
    """The symmetric box of the published code, on the shifted full spectrum."""
    fx, fo = np.fft.fft2(x.double().numpy()), np.fft.fft2(other.double().numpy())
    amplitude, donor = np.fft.fftshift(np.abs(fx), (-2, -1)), np.fft.fftshift(np.abs(fo), (-2, -1))
    height, width = x.shape[-2:]
    b = math.floor(min(height, width) * fraction)
    box = np.s_[..., height // 2 - b : height // 2 + b + 1, width // 2 - b : width // 2 + b + 1]
    amplitude[box] = donor[box]
    return np.fft.ifft2(np.fft.ifftshift(amplitude, (-2, -1)) * np.exp(1j * np.angle(fx))).real


def standardised(y):
    return (y - y.mean((-2, -1), keepdims=True)) / y.std((-2, -1), keepdims=True)


@given(sizes, seeds)
@examples
def test_amplitude_and_phase_are_numpys(size, seed):
    x = pictures(size, seed)
    amplitude, phase = amplitude_phase(x)
    reference = np.fft.rfft2(x.double().numpy(), norm="ortho")
    np.testing.assert_allclose(amplitude, np.abs(reference), atol=1e-5)
    np.testing.assert_allclose(amplitude * torch.exp(1j * phase), reference, atol=1e-5)


@given(sizes, seeds)
@examples
def test_parseval(size, seed):
    x = pictures(size, seed, dtype=torch.float64)
    power = amplitude_phase(x)[0].square()
    twice = torch.full((power.shape[-1],), 2.0, dtype=torch.float64)  # each bin stands for its mirror image too ...
    twice[0] = 1  # ... except the columns that mirror onto themselves
    if size[1] % 2 == 0:
        twice[-1] = 1
    torch.testing.assert_close((power * twice).sum((-2, -1)), x.square().sum((-2, -1)))


@given(sizes, seeds, st.floats(0, 1))
@examples
def test_mix_is_the_published_one_and_keeps_the_phase(size, seed, lam):
    x, other = pictures(size, seed), pictures(size, seed + 1)
    mixed = amplitude_mix(x, other, lam)
    np.testing.assert_allclose(mixed, numpy_mix(x, other, lam), atol=2e-5)
    before, after = (torch.fft.rfft2(y.double()) for y in (x, mixed))
    # The product with the conjugate is real and positive where the phases agree.
    cross = before * after.conj()
    assert cross.imag.abs().max() < 1e-3 * cross.abs().max()
    assert cross.real.min() > -1e-3 * cross.abs().max()


@given(sizes, seeds)
@examples
def test_mixing_nothing_changes_nothing(size, seed):
    x, other = pictures(size, seed), pictures(size, seed + 1)
    torch.testing.assert_close(amplitude_mix(x, other, 0.0), x, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(amplitude_mix(x, x, 0.7), x, atol=2e-6, rtol=1e-5)


def test_each_picture_has_its_own_share():
    x, other = pictures((6, 7), 0), pictures((6, 7), 1)
    mixed = amplitude_mix(x, other, torch.tensor([0.0, 0.6]))
    torch.testing.assert_close(mixed[0], x[0])
    torch.testing.assert_close(mixed[1], amplitude_mix(x[1], other[1], 0.6))


@given(sizes, seeds, st.sampled_from([0.0, 0.01, 0.05, 0.09, 0.2, 0.4]))
@examples
def test_swap_is_the_published_one(size, seed, fraction):
    x, other = pictures(size, seed), pictures(size, seed + 1)
    np.testing.assert_allclose(swap_low_amplitude(x, other, fraction), numpy_fda(x, other, fraction), atol=2e-5)


def test_swapping_everything_is_mixing_everything():
    x, other = pictures((8, 5), 0), pictures((8, 5), 1)
    torch.testing.assert_close(swap_low_amplitude(x, other, 1.0), amplitude_mix(x, other, 1.0))


@pytest.mark.parametrize("size", [(8, 9), (9, 8)])
def test_pictures_of_two_sizes_are_refused(size):
    x, other = pictures((8, 8), 0), pictures(size, 0)
    for function in (amplitude_mix, swap_low_amplitude):
        with pytest.raises((ValueError, TypeCheckError), match=r"of one size|other"):
            function(x, other, 0.5)


@pytest.mark.parametrize("fraction", [-0.1, 1.5, math.nan])
def test_swap_refuses_a_fraction_that_is_none(fraction):
    with pytest.raises(ValueError, match="fraction"):
        swap_low_amplitude(pictures((4, 4), 0), pictures((4, 4), 1), fraction)


@given(sizes, seeds)
@examples
def test_phase_view_is_numpys(size, seed):
    x = pictures(size, seed, dtype=torch.float64)
    spectrum = np.fft.fft2(x.numpy())
    spectrum[..., 0, 0] = 0  # the mean, which the view takes from x
    whitened = np.fft.ifft2(np.exp(1j * np.angle(spectrum)) * (spectrum != 0)).real
    np.testing.assert_allclose(standardised(phase_only(x).numpy()), standardised(whitened), atol=1e-6)


@given(sizes, seeds)
@examples
def test_amplitude_view_is_numpys(size, seed):
    x = pictures(size, seed, dtype=torch.float64)
    spectrum = np.fft.fft2(x.numpy())
    spectrum[..., 0, 0] = 0
    y = np.fft.ifft2(np.abs(spectrum)).real
    view = np.fft.fftshift(np.arcsinh(y / np.abs(y).mean((-2, -1), keepdims=True)), (-2, -1))
    np.testing.assert_allclose(standardised(amplitude_only(x).numpy()), standardised(view), atol=1e-6)


@pytest.mark.parametrize("view", VIEWS)
@given(size=sizes, seed=seeds)
@examples
def test_views_have_the_statistics_of_the_picture(view, size, seed):
    x = pictures(size, seed)
    y = view(x)
    torch.testing.assert_close(y.mean((-2, -1)), x.mean((-2, -1)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(y.std((-2, -1)), x.std((-2, -1)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("view", VIEWS)
def test_views_follow_brightness_and_contrast(view):
    """So a view of a normalised picture is the normalised view of the picture."""
    x = pictures((9, 8), 3, dtype=torch.float64)
    torch.testing.assert_close(view(3 * x - 1.5), 3 * view(x) - 1.5)


def test_shifts_move_the_phase_view_and_leave_the_amplitude_view():
    x = pictures((9, 8), 3, dtype=torch.float64)
    moved = x.roll((2, 5), (-2, -1))
    torch.testing.assert_close(phase_only(moved), phase_only(x).roll((2, 5), (-2, -1)))
    torch.testing.assert_close(amplitude_only(moved), amplitude_only(x))


@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_amplitude_view_peaks_in_the_centre(size):
    view = amplitude_only(pictures(size, 0, batch=(1,)))[0]
    assert divmod(int(view.argmax()), size[1]) == (size[0] // 2, size[1] // 2)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, -2.0])
def test_a_constant_picture_stays_itself(view, value):
    x = torch.full((3, 7, 6), value, requires_grad=True)
    y = view(x)
    torch.testing.assert_close(y, x, atol=1e-4, rtol=0)
    y.square().sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e-38])
def test_gradients_are_finite_where_the_spectrum_is_zero(scale):
    stripes = scale * torch.eye(2).repeat(4, 4)[None]  # two bins hold everything
    other = pictures((8, 8), 0, batch=(1,))
    for function in (*VIEWS, lambda x: amplitude_mix(x, other, 0.5), lambda x: swap_low_amplitude(x, other, 0.2)):
        x = stripes.clone().requires_grad_()
        function(x).square().sum().backward()
        assert x.grad.isfinite().all()


def test_empty_bins_have_phase_zero_and_stay_empty():
    x = torch.zeros(1, 8, 8)
    x[..., ::2] = 1 / 3  # vertical stripes: one frequency beside the mean
    amplitude, phase = amplitude_phase(x)
    empty = amplitude < 1e-5
    assert empty.sum() == 8 * 5 - 2
    assert (phase[empty] == 0).all()
    torch.testing.assert_close(phase_only(x), x)


@pytest.mark.parametrize("function", [*VIEWS, lambda x: amplitude_mix(x, x.flip(0), 0.5)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_goes_through_float32_under_autocast(function, dtype):
    x = pictures((7, 8), 0, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = function(x)
        assert all(part.dtype == torch.float32 for part in amplitude_phase(x))
        assert function(x.float()).dtype == torch.float32
    assert low.dtype == dtype
    torch.testing.assert_close(low, function(x.float()).to(dtype))


def test_float64_stays():
    x = pictures((7, 8), 0, dtype=torch.float64)
    assert amplitude_phase(x)[0].dtype == phase_only(x).dtype == amplitude_only(x).dtype == torch.float64


@pytest.mark.parametrize("function", [phase_only, amplitude_only, amplitude_phase])
def test_integers_are_refused(function):
    with pytest.raises((ValueError, TypeCheckError), match=r"floating-point|u8"):
        function(torch.zeros(3, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("function", [phase_only, amplitude_only, lambda x: amplitude_mix(x, x.flip(0), 0.3)])
def test_gradcheck(function):
    x = pictures((4, 5), 7, batch=(2, 1), dtype=torch.float64).requires_grad_()
    torch.autograd.gradcheck(function, x)
