"""The Perceiver's layers: a few latents read from any number of inputs, and think among themselves."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from overtone.nn.attention import AttentionBlock

STD = 0.02  # of latents and other trained queries at their start


class CrossAttention(nn.Module):
    """Read from a context, pre-norm: x + attention(norm x, norm context), then x + feed-forward(norm x).

    Perceiver, arXiv 2103.03206, section 3.1 and appendix C: one head there, of the context's width. Its cost is linear
    in the length of the context. Without `residual` the first sum is left out, for queries that mean another thing
    than what they read, such as positions (Perceiver IO, arXiv 2107.14795, appendix E).
    """

    def __init__(self, dim: int, context: int, width: int, heads: int = 1, residual: bool = True) -> None:
        """Take the widths of x, of the context, and of queries, keys and values."""
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got width={width} and heads={heads}")
        self.heads, self.residual = heads, residual
        self.norm_query, self.norm_context = nn.LayerNorm(dim), nn.LayerNorm(context)
        self.query, self.key_value = nn.Linear(dim, width), nn.Linear(context, 2 * width)
        self.out = nn.Linear(width, dim)
        self.norm_feed_forward, self.feed_forward = nn.LayerNorm(dim), _feed_forward(dim)

    def forward(
        self, x: Float[Tensor, "#batch length dim"], context: Float[Tensor, "batch M context"]
    ) -> Float[Tensor, "batch length dim"]:
        """Let every query attend to all of the context."""
        return self.attend(x, *self.keys_values(context))

    def keys_values(
        self, context: Float[Tensor, "batch M context"]
    ) -> tuple[Float[Tensor, "batch heads M width"], Float[Tensor, "batch heads M width"]]:
        """Return what the context offers; of a context that is read several times, it is computed once."""
        K, V = self.key_value(self.norm_context(context)).chunk(2, dim=-1)
        return self._parted(K), self._parted(V)

    def attend(
        self,
        x: Float[Tensor, "#batch length dim"],
        K: Float[Tensor, "batch heads M width"],
        V: Float[Tensor, "batch heads M width"],
    ) -> Float[Tensor, "batch length dim"]:
        """Read from keys and values; queries of batch 1 serve every sample."""
        Q = self._parted(self.query(self.norm_query(x))).expand(K.shape[0], -1, -1, -1)
        read = self.out(scaled_dot_product_attention(Q, K, V).transpose(1, 2).flatten(2))
        x = x + read if self.residual else read
        return x + self.feed_forward(self.norm_feed_forward(x))

    def _parted(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class LatentAttention(AttentionBlock):
    """A pre-norm transformer block of the latents, its feed-forward no wider than they are."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.feed_forward = _feed_forward(dim)


class PerceiverEncoder(nn.Module):
    """Let N trained latents read M inputs, in time O(M N + L N^2) and memory O(M + N): depth L costs no M.

    There are `blocks` blocks of `self_attends` self-attentions over the latents, all blocks with the same weights. A
    cross-attention precedes the first `cross_attends` blocks, the first with weights of its own, all others with the
    same (Perceiver, section 3.2 and figure 1; Perceiver IO reads once). What is read again is read through the same
    weights, so its keys and values are computed once (ours; the values are the same).

    The inputs are a set: their order changes nothing but rounding.
    """

    def __init__(
        self,
        context: int,
        latents: int,
        dim: int,
        cross_dim: int,
        blocks: int,
        cross_attends: int,
        self_attends: int,
        heads: int = 8,
        cross_heads: int = 1,
    ) -> None:
        """Take the inputs' width, N, the latents' width, and the width of the cross-attentions' queries and keys.

        Raises ValueError for more cross-attentions than blocks, or none.
        """
        super().__init__()
        if not 1 <= cross_attends <= blocks:
            raise ValueError(f"cross_attends must be from 1 to blocks={blocks}, got {cross_attends}")
        self.again, self.alone = cross_attends - 1, blocks - cross_attends
        self.latents = nn.Parameter(torch.empty(1, latents, dim))
        self.first = CrossAttention(dim, context, cross_dim, cross_heads)
        self.shared = CrossAttention(dim, context, cross_dim, cross_heads) if self.again else None
        self.block = nn.Sequential(*(LatentAttention(dim, heads) for _ in range(self_attends)))
        nn.init.trunc_normal_(self.latents, std=STD)

    def forward(self, inputs: Float[Tensor, "batch M context"]) -> Float[Tensor, "batch N dim"]:
        """Return the latents after the last block."""
        z = self.block(self.first(self.latents, inputs))
        if self.shared is not None:
            K, V = self.shared.keys_values(inputs)
            for _ in range(self.again):
                z = self.block(self.shared.attend(z, K, V))
        for _ in range(self.alone):
            z = self.block(z)
        return z


def _feed_forward(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
