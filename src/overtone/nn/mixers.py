"""Token mixers that SHFIN is measured against: FNet, GFNet, AFNO, self-attention and convolution.

Each maps `(batch, *grid, dim)` to the same shape, without residual, norm or feed-forward: those belong to the block
around it. Parameters are real. Spectra are computed in float32 (float64 stays float64), whatever the input's precision
or the autocast; the output has the input's precision.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, softshrink

from overtone.nn.attention import attend

THRESHOLD = 0.01  # AFNO's sparsity threshold lambda, in the published code
INITIAL_DEVIATION = 0.02  # of the filters of GFNet and of the weights of AFNO, in the published codes
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class FNet(nn.Module):
    """y = Re F_grid(F_dim(x)), the real part of the DFT over grid and channels (Lee-Thorp et al. 2022, eq. 3).

    It has no parameters. As published, the transform is not normalised: the output's deviation is the square root of
    (positions times channels) times the input's, and a norm belongs behind it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Float[Tensor, "batch *grid dim"]) -> Float[Tensor, "batch *grid dim"]:
        """Mix all positions and channels."""
        _check_channels(x, self.dim)
        axes = tuple(range(1, x.dim()))
        return torch.fft.fftn(_precise(x), dim=axes).real.to(x.dtype)


class GFNet(nn.Module):
    """y = irfft(K * rfft(x)), K a filter of each channel, as large as the grid (Rao et al. 2021, section 3.2).

    On a grid of another size, K is interpolated as the published code does when it changes the resolution: cubically,
    as an array in the order of the FFT with its corners aligned, so that frequency 0 stays in its place. (The
    published code has two axes; one and three are ours, by the same rule.)
    """

    def __init__(self, dim: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.dim, self.grid = dim, grid
        spectrum = (*grid[:-1], grid[-1] // 2 + 1)
        self.K = nn.Parameter(INITIAL_DEVIATION * torch.randn(*spectrum, dim, 2))

    def forward(self, x: Float[Tensor, "batch *grid dim"]) -> Float[Tensor, "batch *grid dim"]:
        """Filter each channel.

        Raises ValueError for another number of axes than the filter's.
        """
        _check_channels(x, self.dim)
        if x.dim() - 2 != len(self.grid):
            raise ValueError(f"x has {x.dim() - 2} grid axes, the filter has {len(self.grid)}: grid={self.grid}")
        X = _analysis(x)
        K = torch.view_as_complex(_resized(_precise(self.K), X.shape[1:-1]))
        return _synthesis(K * X, x)


class FrequencyLayers(nn.Module):
    """S(W2 relu(W1 z + b1) + b2) of coefficients z, S the soft-thresholding at 0.01 (Guibas et al. 2022, section 4).

    The two layers are block-diagonal over the channels and shared by all frequencies. Their complex weights are stored
    as real and imaginary part; relu and S act on both parts, as in the published code.

    Raises ValueError for a width that `blocks` does not divide.
    """

    def __init__(self, dim: int, blocks: int = 8) -> None:
        super().__init__()
        if dim % blocks:
            raise ValueError(f"dim must be a multiple of blocks, got dim={dim} and blocks={blocks}")
        self.blocks, size = blocks, dim // blocks
        self.W1, self.W2 = (nn.Parameter(INITIAL_DEVIATION * torch.randn(blocks, size, size, 2)) for _ in range(2))
        self.b1, self.b2 = (nn.Parameter(INITIAL_DEVIATION * torch.randn(blocks, size, 2)) for _ in range(2))

    def forward(self, z: Float[Tensor, "*rows 2 dim"]) -> Float[Tensor, "*rows 2 dim"]:
        """Mix the channels of each coefficient, whose real and imaginary part are one behind the other."""
        parts = z.unflatten(-1, (self.blocks, -1)).movedim(-2, 0)
        hidden = _affine(parts.flatten(-2).flatten(1, -2), self.W1, self.b1).relu()
        out = softshrink(_affine(hidden, self.W2, self.b2), THRESHOLD)
        return out.view(parts.shape).movedim(0, -2).flatten(-2)


class AFNO(nn.Module):
    """y = irfft(S(W2 relu(W1 rfft(x) + b1) + b2)): `FrequencyLayers` of the whole grid's spectrum, whatever its size.

    The published layer (Guibas et al. 2022, section 4) adds its input to y, and its block does so again; here that is
    the block's to do. Raises ValueError for a width that `blocks` does not divide.
    """

    def __init__(self, dim: int, blocks: int = 8) -> None:
        super().__init__()
        self.dim, self.layers = dim, FrequencyLayers(dim, blocks)

    def forward(self, x: Float[Tensor, "batch *grid dim"]) -> Float[Tensor, "batch *grid dim"]:
        """Mix the channels of each frequency."""
        _check_channels(x, self.dim)
        parts = torch.view_as_real(_analysis(x)).movedim(-1, -2)
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):  # autocast knows no meta device
            mixed = self.layers(parts).movedim(-2, -1)
        return _synthesis(torch.view_as_complex(mixed.contiguous()), x)


class Attention(nn.Module):
    """Multi-head self-attention over all positions of the grid (Vaswani et al. 2017, eq. 1).

    Raises ValueError for a width that `heads` does not divide.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got dim={dim} and heads={heads}")
        self.dim, self.heads = dim, heads
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "batch *grid dim"]) -> Float[Tensor, "batch *grid dim"]:
        """Let every position attend to all."""
        _check_channels(x, self.dim)
        return self.out(attend(self.query_key_value(x.flatten(1, -2)), self.heads)).view(x.shape)


class Convolution(nn.Module):
    """A depthwise convolution, `kernel` wide along each of `axes` grid axes, with zeros beyond the edge.

    With the default kernel it is ConvNeXt's (Liu et al. 2022).

    Raises ValueError for an even kernel, which has no centre, or a number of axes that is not 1, 2 or 3.
    """

    def __init__(self, dim: int, kernel: int = 7, axes: int = 2) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        if axes not in CONVOLUTIONS:
            raise ValueError(f"axes must be 1, 2 or 3, got {axes}")
        self.dim = dim
        self.depthwise = CONVOLUTIONS[axes](dim, dim, kernel, padding=kernel // 2, groups=dim)

    def forward(self, x: Float[Tensor, "batch *grid dim"]) -> Float[Tensor, "batch *grid dim"]:
        """Mix each position with its neighbours."""
        _check_channels(x, self.dim)
        return self.depthwise(x.movedim(-1, 1)).movedim(1, -1)


def _check_channels(x: Tensor, dim: int) -> None:
    if x.shape[-1] != dim:
        raise ValueError(f"x must have dim={dim} channels in its last axis, got {x.shape[-1]} (shape {tuple(x.shape)})")


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _analysis(x: Float[Tensor, "batch *grid dim"]) -> Complex[Tensor, "batch *spectrum dim"]:
    """Return the half spectrum of each channel."""
    return torch.fft.rfftn(_precise(x), dim=tuple(range(1, x.dim() - 1)), norm="ortho")


def _synthesis(
    X: Complex[Tensor, "batch *spectrum dim"], x: Float[Tensor, "batch *grid dim"]
) -> Float[Tensor, "batch *grid dim"]:
    """Return the channels of a half spectrum, on the grid and in the precision of `x`."""
    axes = tuple(range(1, x.dim() - 1))
    return torch.fft.irfftn(X, s=x.shape[1:-1], dim=axes, norm="ortho").to(x.dtype)


def _affine(
    X: Float[Tensor, "blocks rows parts"], W: Float[Tensor, "blocks size size 2"], b: Float[Tensor, "blocks size 2"]
) -> Float[Tensor, "blocks rows parts"]:
    """Return X W + b for each block of channels, whose real parts stand before their imaginary ones."""
    real, imaginary = W.to(X.dtype).unbind(-1)
    matrix = torch.cat([torch.cat([real, imaginary], 2), torch.cat([-imaginary, real], 2)], 1)
    return torch.baddbmm(b.to(X.dtype).mT.flatten(1)[:, None], X, matrix)


def _resized(K: Float[Tensor, "*spectrum dim 2"], spectrum: tuple[int, ...]) -> Float[Tensor, "*other dim 2"]:
    """Interpolate a filter to the size of another spectrum, one axis after the other: cubic interpolation separates."""
    for axis, size in enumerate(spectrum):
        if K.shape[axis] != size:
            rows = K.movedim(axis, 0)
            image = rows.flatten(1)[None, None]
            image = interpolate(image, size=(size, image.shape[-1]), mode="bicubic", align_corners=True)
            K = image[0, 0].unflatten(-1, rows.shape[1:]).movedim(0, axis)
    return K.contiguous()
