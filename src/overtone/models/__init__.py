"""Whole networks, native to transformers, and the towers that FARL sees in them."""

from overtone.models.backbone import Backbone, load_backbone
from overtone.models.drop_in import Swapped, swap
from overtone.models.dual_encoder import DualEncoder, DualEncoderConfig
from overtone.models.shfin import ShfinConfig, ShfinForImageClassification
from overtone.models.tower import Tower

__all__ = [
    "Backbone",
    "DualEncoder",
    "DualEncoderConfig",
    "ShfinConfig",
    "ShfinForImageClassification",
    "Swapped",
    "Tower",
    "load_backbone",
    "swap",
]
