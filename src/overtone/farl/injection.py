"""Run a frozen tower with tokens of our own among its own."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from overtone.models.tower import Tower


def first_layer(depth: int) -> int:
    """Return the first block that tokens enter: the sixth of twelve as published (MMRL), in proportion elsewhere."""
    return (depth - 1) // 2


def encode_with_tokens(
    tower: Tower,
    tokens: Float[Tensor, "batch length width"],
    mask: Bool[Tensor, "batch length"] | None,
    inserted: Sequence[Float[Tensor, "_ K width"]],
    fresh: float = 1.0,
) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch K width"]]:
    """Return the pooled embedding and the last state of the inserted tokens.

    `tokens` are the tower's states before its last `len(inserted)` blocks. The inserted tokens stand right after the
    leading special token and are *replaced*, not propagated, at every later layer (MMRL, section 3.2); with `fresh`
    below 1, what the layer before made of them keeps a share 1 - fresh (MMRL++, arXiv 2505.10088, its beta).
    """
    lead, K = tower.leading, inserted[0].shape[1]
    head, rest = tokens[:, :lead], tokens[:, lead:]
    longer = mask
    if mask is not None:
        longer = torch.cat([mask[:, :lead], mask.new_ones(len(mask), K), mask[:, lead:]], dim=1)
    states = tokens
    first, last = tower.depth - len(inserted), tower.depth - 1
    for layer, new in enumerate(inserted, start=first):
        new = new.expand(len(tokens), -1, -1)
        if fresh < 1 and layer > first:
            new = fresh * new + (1 - fresh) * states[:, lead : lead + K]
        states = torch.cat([head, new, rest], dim=1)
        if layer == last and tower.pools_leading:
            states = tower.last_block(states, longer, lead + K)
        else:
            states = tower.blocks(states, longer, layer, layer + 1)
        head, rest = states[:, :lead], states[:, lead + K :]
    return tower.pool(torch.cat([head, rest], dim=1), mask), states[:, lead : lead + K]
