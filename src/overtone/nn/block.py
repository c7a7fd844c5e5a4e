"""The residual block around any token mixer."""

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn

Norm = Literal["pre", "post"]


class MixerBlock(nn.Module):
    """A mixer and a feed-forward, each with a residual and a LayerNorm.

    "post" is SHFIN's fusion, Y = LayerNorm(X + X^) (arXiv 1801.01451v3, eq. 7); "pre" normalises what enters the mixer
    and the feed-forward instead, which trains more easily (Xiong et al. 2020) and is our default.
    """

    def __init__(self, mixer: nn.Module, dim: int, ratio: float = 4.0, norm: Norm = "pre") -> None:
        """Take a mixer from (batch, *grid, dim) to the same, and the feed-forward's width as a multiple of `dim`.

        A ratio of 0 leaves the feed-forward out, for a mixer that has its own.
        """
        super().__init__()
        if norm not in ("pre", "post"):
            raise ValueError(f'norm must be "pre" or "post", got {norm!r}')
        self.norm = norm
        self.mixer = mixer
        self.norm_mixer = nn.LayerNorm(dim)
        hidden = int(ratio * dim)
        self.has_feed_forward = hidden > 0
        if not self.has_feed_forward:
            return
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(
        self, x: Float[Tensor, "batch *grid dim"], mask: Bool[Tensor, "batch *grid"] | None = None
    ) -> Float[Tensor, "batch *grid dim"]:
        """Mix positions, then channels; a mask goes to the mixer, which must take one."""
        real = {} if mask is None else {"mask": mask}
        if self.norm == "post":
            x = self.norm_mixer(x + self.mixer(x, **real))
            return self.norm_feed_forward(x + self.feed_forward(x)) if self.has_feed_forward else x
        x = x + self.mixer(self.norm_mixer(x), **real)
        return x + self.feed_forward(self.norm_feed_forward(x)) if self.has_feed_forward else x
