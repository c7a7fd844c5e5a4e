"""Losses over image-text pairs: modules called with (image_features, text_features, logit_scale)."""

from overtone.losses.contrastive import InfoNCE, SigLIP
from overtone.losses.sde import SDE, SDEConfig

__all__ = ["SDE", "InfoNCE", "SDEConfig", "SigLIP"]
