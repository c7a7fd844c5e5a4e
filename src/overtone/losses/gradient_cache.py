"""Large batches on small memory: encode in chunks, and keep the activations of one chunk at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def encode_in_chunks(encode: Callable[[Tensor], Tensor], inputs: Tensor, chunk: int | None) -> Tensor:
    """Return `encode(inputs)`, computed `chunk` rows at a time, with the gradient of the whole (None: all at once).

    This is gradient caching (Gao et al. 2021): features without a graph, the loss on all of them, then chunk by chunk
    the features once more, now with a graph, and backward from the cached gradient of the loss. Checkpointing (Chen et
    al. 2016) of every chunk is just that: backward visits the chunks one after the other, draws again what each drew
    (dropout), and lets its activations go before the next. The price is a second forward pass.

    No row may depend on another, which batch normalisation in training mode breaks. Raises ValueError for a chunk below
    1.
    """
    if chunk is None:
        return encode(inputs)
    if chunk < 1:
        raise ValueError(f"chunk must be 1 or more, got {chunk}")
    if not torch.is_grad_enabled():
        return torch.cat([encode(rows) for rows in inputs.split(chunk)])
    return torch.cat([checkpoint(encode, rows, use_reentrant=False) for rows in inputs.split(chunk)])
