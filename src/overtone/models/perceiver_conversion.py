"""Take the weights of transformers' Perceivers into ours, value for value."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PerceiverForImageClassificationFourier, PerceiverForOpticalFlow

from overtone.models.perceiver import ImagePerceiverConfig, PerceiverForDenseOutput, PerceiverForImageClassification

# What the released models have, and ours does not vary.
FIXED = {
    "qk_channels": None,
    "v_channels": None,
    "cross_attention_shape_for_attention": "kv",
    "cross_attention_widening_factor": 1,
    "self_attention_widening_factor": 1,
    "use_query_residual": True,
    "hidden_act": "gelu",
}
QUERY, KEY, VALUE = (f"attention.self.{name}" for name in ("query", "key", "value"))
# Our layers' maps and norms, each with theirs that it holds, one below the other.
BOTH = {
    "out": ("attention.output.dense",),
    "norm_feed_forward": ("layernorm",),
    "feed_forward.0": ("mlp.dense1",),
    "feed_forward.2": ("mlp.dense2",),
}
SELF = BOTH | {"norm_attention": ("attention.self.layernorm1",), "query_key_value": (QUERY, KEY, VALUE)}
CROSS = BOTH | {
    "norm_query": ("attention.self.layernorm1",),
    "norm_context": ("attention.self.layernorm2",),
    "query": (QUERY,),
    "key_value": (KEY, VALUE),
}
Weights = dict[str, Tensor]


def convert_perceiver_classifier(theirs: PerceiverForImageClassificationFourier) -> PerceiverForImageClassification:
    """Return our classifier with the weights of theirs (such as deepmind/vision-perceiver-fourier's), for evaluation.

    Its latents read the picture once, and a trained query reads the class from them. Theirs drops attention weights
    in training; ours has no dropout.

    Raises ValueError for a setting that ours has no counterpart of.
    """
    weights, config = _parts(theirs), _config(theirs.perceiver, head="query", id2label=theirs.config.id2label)
    taken = _encoder(weights, config) | _layer(weights, "decoder.decoder.decoding_cross_attention", "head.read", CROSS)
    taken["head.query"] = weights["decoder.decoder.output_position_encodings.position_embeddings"][None]
    ours = PerceiverForImageClassification(config)
    _fill(ours, taken | _linear(weights, "decoder.decoder.final_layer", "classifier"))
    return ours


def convert_perceiver_flow(theirs: PerceiverForOpticalFlow) -> PerceiverForDenseOutput:
    """Return our dense network with the weights of theirs (such as deepmind/optical-flow-perceiver's), for evaluation.

    Theirs takes two frames (batch, 2, 27, h, w), a patch of 3 x 3 around each pixel, and returns (batch, h, w, 2).
    Ours takes `frames.flatten(1, 2)`, of any height and width, and returns (batch, 2, h, w); its last map has the
    division by `rescale_factor` in it. Theirs drops attention weights in training; ours has no dropout.

    Raises ValueError for a setting that ours has no counterpart of.
    """
    weights = _parts(theirs)
    trunk: Any = theirs.perceiver
    embed = trunk.input_preprocessor.conv_after_patches
    config = _config(
        trunk,
        image_size=max(theirs.config.train_size),
        num_channels=embed.in_features,
        embed_dim=embed.out_features,
        queries="inputs",
        num_labels=trunk.decoder.output_num_channels,
    )
    taken = _encoder(weights, config) | _layer(weights, "decoder.decoder.decoding_cross_attention", "decoder", CROSS)
    taken |= _linear(weights, "input_preprocessor.conv_after_patches", "inputs.embed")
    last = _linear(weights, "decoder.decoder.final_layer", "output")
    scaled = {name: weight / trunk.decoder.rescale_factor for name, weight in last.items()}
    ours = PerceiverForDenseOutput(config)
    _fill(ours, taken | scaled)
    return ours


def _config(trunk: Any, **changes: object) -> ImagePerceiverConfig:
    theirs = trunk.config
    for name, value in FIXED.items():
        if getattr(theirs, name) != value:
            raise ValueError(f"{name} must be {value!r} to be converted, got {getattr(theirs, name)!r}")
    encoding = trunk.input_preprocessor.position_embeddings
    sizes: dict[str, Any] = {
        "bands": encoding.num_bands,
        "resolution": list(encoding.max_resolution),
        "latents": theirs.num_latents,
        "dim": theirs.d_latents,
        "blocks": theirs.num_blocks,
        "cross_attends": 1,
        "self_attends": theirs.num_self_attends_per_block,
        "heads": theirs.num_self_attention_heads,
        "cross_heads": theirs.num_cross_attention_heads,
    }
    return ImagePerceiverConfig(**sizes | changes)


def _parts(theirs: nn.Module) -> Weights:
    return {name.removeprefix("perceiver."): weight for name, weight in theirs.state_dict().items()}


def _encoder(weights: Weights, config: ImagePerceiverConfig) -> Weights:
    taken = {"encoder.latents": weights["embeddings.latents"][None]}
    taken |= _layer(weights, "encoder.cross_attention", "encoder.first", CROSS)
    for i in range(config.self_attends):
        taken |= _layer(weights, f"encoder.self_attends.{i}", f"encoder.block.{i}", SELF)
    return taken


def _layer(weights: Weights, theirs: str, ours: str, names: Mapping[str, tuple[str, ...]]) -> Weights:
    """Return the weights of one layer of ours by name."""
    return {
        f"{ours}.{name}.{kind}": torch.cat([weights[f"{theirs}.{part}.{kind}"] for part in parts])
        for name, parts in names.items()
        for kind in ("weight", "bias")
    }


def _linear(weights: Weights, theirs: str, ours: str) -> Weights:
    return {f"{ours}.{kind}": weights[f"{theirs}.{kind}"] for kind in ("weight", "bias")}


def _fill(ours: nn.Module, taken: Weights) -> None:
    """Give a network these weights, in their precision; each of its own must be among them."""
    ours.to(dtype=taken["encoder.latents"].dtype).eval().load_state_dict(taken)
