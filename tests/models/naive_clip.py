"""CLIP's two encoders written down plainly from a state dict, with tokens inserted: the towers' reference.

Written from the papers' formulas (Radford et al. 2021; MMRL, arXiv 2503.08497), one head at a time, with an explicit
softmax; it shares nothing with transformers' modelling code nor with overtone's towers.
"""

import torch
from torch import Tensor

State = dict[str, Tensor]
Inserted = dict[int, Tensor]  # block index (from 0) -> the tokens (count, width) that stand after the first token there


def layer_norm(x: Tensor, state: State, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def attention(x: Tensor, state: State, name: str, heads: int, causal: bool) -> Tensor:
    length, width = x.shape[1:]
    q, k, v = (linear(x, state, f"{name}.{kind}_proj") for kind in "qkv")
    outputs = []
    for head in range(heads):
        part = slice(head * width // heads, (head + 1) * width // heads)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / (width // heads) ** 0.5
        if causal:
            for row in range(length):
                scores[:, row, row + 1 :] = -torch.inf
        weights = torch.exp(scores - scores.max(-1, keepdim=True).values)
        outputs.append(weights / weights.sum(-1, keepdim=True) @ v[..., part])
    return linear(torch.cat(outputs, dim=-1), state, f"{name}.out_proj")


def block(x: Tensor, state: State, name: str, heads: int, causal: bool) -> Tensor:
    x = x + attention(layer_norm(x, state, f"{name}.layer_norm1"), state, f"{name}.self_attn", heads, causal)
    hidden = linear(layer_norm(x, state, f"{name}.layer_norm2"), state, f"{name}.mlp.fc1")
    return x + linear(hidden * torch.sigmoid(1.702 * hidden), state, f"{name}.mlp.fc2")


def encode(x: Tensor, state: State, name: str, heads: int, causal: bool, inserted: Inserted) -> tuple[Tensor, int]:
    """Run all blocks; put the tokens in after the first one where they first occur, replace them where they recur."""
    count = 0
    depth = len({key.split(".")[3] for key in state if key.startswith(f"{name}.encoder.layers.")})
    for index in range(depth):
        if index in inserted:
            tokens = inserted[index].expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], tokens, x[:, 1 + count :]], dim=1)
            count = tokens.shape[1]
        x = block(x, state, f"{name}.encoder.layers.{index}", heads, causal)
    return x, count


def image_features(state: State, pixels: Tensor, heads: int, inserted: Inserted | None = None) -> tuple[Tensor, Tensor]:
    """Return the embeddings (batch, features) and the inserted tokens after the last block (batch, count, width)."""
    name = "vision_model"
    kernel = state[f"{name}.embeddings.patch_embedding.weight"]
    size = kernel.shape[-1]
    rows, columns = pixels.shape[2] // size, pixels.shape[3] // size
    patches = [
        pixels[:, :, row * size : (row + 1) * size, column * size : (column + 1) * size].flatten(1)
        for row in range(rows)
        for column in range(columns)
    ]
    embedded = torch.stack(patches, dim=1) @ kernel.flatten(1).T
    cls = state[f"{name}.embeddings.class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([cls, embedded], dim=1) + state[f"{name}.embeddings.position_embedding.weight"]
    x = layer_norm(x, state, f"{name}.pre_layrnorm")
    x, count = encode(x, state, name, heads, causal=False, inserted=inserted or {})
    pooled = layer_norm(x[:, 0], state, f"{name}.post_layernorm")
    return pooled @ state["visual_projection.weight"].T, x[:, 1 : 1 + count]


def text_features(
    state: State, ids: Tensor, heads: int, eos: int, inserted: Inserted | None = None
) -> tuple[Tensor, Tensor]:
    """Return the embeddings (batch, features) and the inserted tokens after the last block (batch, count, width)."""
    name = "text_model"
    words = state[f"{name}.embeddings.token_embedding.weight"][ids]
    x = words + state[f"{name}.embeddings.position_embedding.weight"][: ids.shape[1]]
    x, count = encode(x, state, name, heads, causal=True, inserted=inserted or {})
    last = [row.index(eos) + count for row in ids.tolist()]  # the EOT moves back by the tokens in front of it
    pooled = layer_norm(x[range(len(ids)), last], state, f"{name}.final_layer_norm")
    return pooled @ state["text_projection.weight"].T, x[:, 1 : 1 + count]
