"""Self-attention, and the residual block around it."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def attend(query_key_value: Float[Tensor, "batch length three_dims"], heads: int) -> Float[Tensor, "batch length dim"]:
    """Return multi-head attention of queries to keys and values, one behind the other (Vaswani et al. 2017, eq. 1)."""
    q, k, v = query_key_value.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class AttentionBlock(nn.Module):
    """A pre-norm transformer block: x + attention(norm x), then x + feed-forward(norm x) (Dosovitskiy et al. 2021)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got dim={dim} and heads={heads}")
        self.heads = heads
        self.norm_attention = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch length dim"]:
        """Let every token attend to all."""
        x = x + self.out(attend(self.query_key_value(self.norm_attention(x)), self.heads))
        return x + self.feed_forward(self.norm_feed_forward(x))
