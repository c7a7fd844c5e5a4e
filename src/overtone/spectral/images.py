"""Amplitude and phase of pictures: views that keep one of the two, and augmentations that exchange the amplitude.

Pictures are `(*batch, channels, height, width)`; spectra are rfft2's half of them with norm="ortho", `width // 2 + 1`
columns. Everything is computed in float32 (float64 stays float64), whatever the input's precision or the autocast: no
operation used here is one that autocast lowers. Pictures come back in the input's precision.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def amplitude_phase(
    x: Float[Tensor, "*batch channels height width"],
) -> tuple[Float[Tensor, "*batch channels height half"], Float[Tensor, "*batch channels height half"]]:
    """Return |F| and arg F of the half spectrum.

    The phase is in radians, in [-pi, pi]; that of a bin that holds nothing but rounding is 0.
    """
    spectrum = _spectrum(x)
    amplitude = spectrum.abs()
    # Without the mask, the phase of an empty bin would be that of its rounding error, and its gradient without bound.
    return amplitude, torch.where(_filled(amplitude), spectrum, torch.ones_like(spectrum)).angle()


def phase_only(x: Float[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch channels height width"]:
    """Return irfft2(c e^{i arg F}), the picture with all amplitudes equal, at the mean and deviation of `x` (ours).

    Mean and deviation are per picture and channel. The mean amplitude c of the reference is not computed: bringing
    the view to the deviation of `x` undoes any factor. Bins that hold nothing but rounding stay empty. The view moves
    with the picture and follows its brightness and contrast.
    """
    amplitude, phase = amplitude_phase(_centred(x))
    return _like(_picture(_filled(amplitude).to(phase.dtype), phase, x), x)


def amplitude_only(x: Float[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch channels height width"]:
    """Return irfft2(|F|), the picture with all phases zero, log-scaled, at the mean and deviation of `x` (ours).

    With y = irfft2(|F|) of the picture less its mean, the view is fftshift(asinh(y / mean |y|)): asinh is a logarithm
    on both sides of zero and linear between, so that the peak of y does not drown the rest. All energy of y sits
    around the origin, which fftshift moves from the corners to the centre, in one piece under one set of patches. The
    view is the same wherever the picture's content stands (circular shifts).
    """
    y = torch.fft.irfft2(_spectrum(_centred(x)).abs(), s=x.shape[-2:], norm="ortho")
    unit = y.abs().mean((-2, -1), keepdim=True).clamp_min(torch.finfo(y.dtype).tiny ** 0.5)
    return _like(torch.fft.fftshift((y / unit).asinh(), dim=(-2, -1)), x)


def amplitude_mix(
    x: Float[Tensor, "*batch channels height width"],
    other: Float[Tensor, "*batch channels height width"],
    lam: float | Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch channels height width"]:
    """Give `x` the amplitude (1 - lam) A + lam A_other and keep its phase: FACT's amplitude mix.

    Xu et al., "A Fourier-based Framework for Domain Generalization", CVPR 2021, which draws lam from U(0, 1), one a
    picture. The result may leave the range of the pictures: the published code clips it there.
    """
    amplitude, phase = amplitude_phase(x)
    weight = lam[..., None, None, None].to(amplitude) if isinstance(lam, Tensor) else lam
    return _picture((1 - weight) * amplitude + weight * _donor(other, x), phase, x).to(x.dtype)


def swap_low_amplitude(
    x: Float[Tensor, "*batch channels height width"],
    other: Float[Tensor, "*batch channels height width"],
    fraction: float,
) -> Float[Tensor, "*batch channels height width"]:
    """Give `x` the amplitudes of `other` at frequencies up to b = floor(min(height, width) fraction) on both axes: FDA.

    Yang & Soatto, "FDA: Fourier Domain Adaptation for Semantic Segmentation", CVPR 2020, with `fraction` in {0.01,
    0.05, 0.09}. Of the two boxes in the published code, this is the symmetric one, 2b + 1 frequencies wide: with b =
    0 it swaps the mean.

    Raises ValueError for a fraction outside [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is a part of the picture's size and lies in [0, 1], not {fraction}")
    amplitude, phase = amplitude_phase(x)
    height, width = x.shape[-2:]
    box = _low_box(height, width, math.floor(min(height, width) * fraction), x.device)
    return _picture(torch.where(box, _donor(other, x), amplitude), phase, x).to(x.dtype)


def _spectrum(x: Tensor) -> Tensor:
    return torch.fft.rfft2(_precise(x), norm="ortho")


def _donor(other: Tensor, x: Tensor) -> Tensor:
    """Return the amplitude of `other`; half spectra of widths 8 and 9 would fit each other, and mix frequencies."""
    if other.shape[-3:] != x.shape[-3:]:
        raise ValueError(f"pictures of one size are mixed, not {tuple(x.shape[-3:])} and {tuple(other.shape[-3:])}")
    return _spectrum(other).abs()


def _precise(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise ValueError(
            f"pictures are floating-point tensors here, not {x.dtype}: divide by their largest value first"
        )
    return x if x.dtype == torch.float64 else x.float()


def _centred(x: Tensor) -> Tensor:
    """Return `x` less its mean per channel, which would otherwise set the level at which a bin counts as empty."""
    x = _precise(x)
    return x - x.mean((-2, -1), keepdim=True)


def _filled(amplitude: Float[Tensor, "*spectrum height half"]) -> Bool[Tensor, "*spectrum height half"]:
    """Return which bins hold more than the transform's rounding, a few units in the last place of the largest."""
    limits = torch.finfo(amplitude.dtype)
    floor = (8 * limits.eps) * amplitude.amax((-2, -1), keepdim=True)
    return amplitude > floor.clamp_min(limits.tiny**0.5)  # its square is still a number, in gradients


def _picture(amplitude: Tensor, phase: Tensor, x: Tensor) -> Tensor:
    """Return the picture of this spectrum, of the height and width of `x` (which half a spectrum does not tell)."""
    return torch.fft.irfft2(torch.polar(amplitude, phase), s=x.shape[-2:], norm="ortho")


def _low_box(height: int, width: int, b: int, device: torch.device) -> Bool[Tensor, "height half"]:
    """Return which bins of the half spectrum have frequencies of at most `b` cycles a picture on both axes."""
    rows = torch.arange(height, device=device)
    columns = torch.arange(width // 2 + 1, device=device)
    return (torch.minimum(rows, height - rows) <= b)[:, None] & (columns <= b)


def _like(view: Tensor, x: Tensor) -> Tensor:
    """Bring `view` to the mean and deviation of `x` per channel (ours: a frozen encoder sees inputs in its range)."""
    mean = _precise(x).mean((-2, -1), keepdim=True)
    view = view - view.mean((-2, -1), keepdim=True)
    return (view * (_deviation(_centred(x)) / _deviation(view)) + mean).to(x.dtype)


def _deviation(centred: Tensor) -> Tensor:
    """Return the standard deviation, at least 1e-6: a constant picture has a finite view and a finite gradient."""
    return centred.square().mean((-2, -1), keepdim=True).clamp_min(1e-12).sqrt()
