"""Losses over image-text pairs: modules called with (image_features, text_features, logit_scale)."""

from overtone.losses.contrastive import InfoNCE, SigLIP
from overtone.losses.gathering import gathered
from overtone.losses.gradient_cache import encode_in_chunks
from overtone.losses.sde import SDE, SDEConfig

__all__ = ["SDE", "InfoNCE", "SDEConfig", "SigLIP", "encode_in_chunks", "gathered"]
