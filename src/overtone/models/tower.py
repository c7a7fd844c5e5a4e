"""The one idea that carries everything: an encoder is `embed -> blocks -> pool`."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn


class Tower(nn.Module, ABC):
    """One encoder, seen as embed -> blocks -> pool. Whoever brings a new backbone writes those three.

    A constructor sets `depth`, `width` and `features`; `leading` is 0 unless the encoder has special tokens in front.
    """

    depth: int  # number of blocks
    width: int  # of a token
    features: int  # of the pooled embedding
    leading: int = 0  # special tokens at the start (CLS, BOS): inserted tokens stand right after them
    pools_leading: bool = False  # whether `pool` reads the leading tokens alone: the last block need give no others
    norm: nn.Module  # the final norm over tokens; a module, not a method, so that a wrapped model's own can stand here

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Identity()

    @abstractmethod
    def embed(
        self, inputs: Num[Tensor, "batch *shape"]
    ) -> tuple[Float[Tensor, "batch length width"], Bool[Tensor, "batch length"] | None]:
        """Return the tokens that enter block 0, and which of them are real (None: all are).

        `inputs` are normalised pixels (batch, 3, size, size) for an image tower, padded token ids for a text tower.
        """

    @abstractmethod
    def blocks(
        self,
        tokens: Float[Tensor, "batch length width"],
        mask: Bool[Tensor, "batch length"] | None,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Tensor, "batch length width"]:
        """Run the residual blocks start..stop-1 on tokens of any length, more than `embed` gave included."""

    @abstractmethod
    def pool(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None
    ) -> Float[Tensor, "batch features"]:
        """Return the unnormalised embedding: final norm, pooling, projection. Inserted tokens are gone by then."""

    def last_block(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None, kept: int
    ) -> Float[Tensor, "batch kept width"]:
        """Run the last block and return its first `kept` tokens; a tower that can computes no others."""
        return self.blocks(tokens, mask, self.depth - 1)[:, :kept]

    def finish(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None, start: int
    ) -> Float[Tensor, "batch features"]:
        """Run the blocks from `start` on and pool, without what pooling does not read."""
        if not self.pools_leading:
            return self.pool(self.blocks(tokens, mask, start), mask)
        tokens = self.blocks(tokens, mask, start, self.depth - 1)
        return self.pool(self.last_block(tokens, mask, self.leading), mask)

    @property
    def projection_weight(self) -> Float[Tensor, "features width"]:
        """The linear map from a normed token to the embedding; the identity for an encoder that has none."""
        like = next(self.parameters())
        return torch.eye(self.features, self.width, dtype=like.dtype, device=like.device)

    def forward(self, inputs: Num[Tensor, "batch *shape"]) -> Float[Tensor, "batch features"]:
        """Return the unnormalised embedding of each input."""
        tokens, mask = self.embed(inputs)
        return self.pool(self.blocks(tokens, mask), mask)


class ClassTokenTower(Tower):
    """A vision transformer whose class token, normed and projected, is the embedding.

    A constructor sets `layers`, which take tokens alone, `norm` and `projection`.
    """

    leading = 1
    pools_leading = True
    layers: nn.ModuleList
    projection: nn.Linear

    def blocks(
        self,
        tokens: Float[Tensor, "batch length width"],
        mask: Bool[Tensor, "batch length"] | None,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Tensor, "batch length width"]:
        """Run the layers start..stop-1; every token sees every other."""
        for layer in self.layers[start:stop]:
            tokens = layer(tokens)
        return tokens

    def pool(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None
    ) -> Float[Tensor, "batch features"]:
        """Project the class token."""
        return self.projection(self.norm(tokens[:, 0]))

    @property
    def projection_weight(self) -> Float[Tensor, "features width"]:
        """The map from the normed class token to the embedding."""
        return self.projection.weight
