"""Whole networks, native to transformers, and the towers that FARL sees in them."""

from overtone.models.assembly import Assembly, Side, assemble, read_side
from overtone.models.backbone import Backbone, load_backbone
from overtone.models.coordinate import CoordinateConfig, CoordinateNetwork
from overtone.models.drop_in import Swapped, load_swapped, swap
from overtone.models.dual_encoder import DualEncoder, DualEncoderConfig
from overtone.models.perceiver import ImagePerceiverConfig, PerceiverForDenseOutput, PerceiverForImageClassification
from overtone.models.perceiver_conversion import convert_perceiver_classifier, convert_perceiver_flow
from overtone.models.shfin import ShfinConfig, ShfinForImageClassification, anneal, chosen_frequencies
from overtone.models.tower import Tower
from overtone.models.translation import ShfinForTranslation, ShfinTranslationConfig

__all__ = [
    "Assembly",
    "Backbone",
    "CoordinateConfig",
    "CoordinateNetwork",
    "DualEncoder",
    "DualEncoderConfig",
    "ImagePerceiverConfig",
    "PerceiverForDenseOutput",
    "PerceiverForImageClassification",
    "ShfinConfig",
    "ShfinForImageClassification",
    "ShfinForTranslation",
    "ShfinTranslationConfig",
    "Side",
    "Swapped",
    "Tower",
    "anneal",
    "assemble",
    "chosen_frequencies",
    "convert_perceiver_classifier",
    "convert_perceiver_flow",
    "load_backbone",
    "load_swapped",
    "read_side",
    "swap",
]
