"""Layers."""

from overtone.nn.adaptive import AdaptiveSHFIN
from overtone.nn.attention import AttentionBlock
from overtone.nn.block import MixerBlock
from overtone.nn.fourier_features import FourierFeatures, grid
from overtone.nn.gated import GatedSHFIN
from overtone.nn.mixers import AFNO, Attention, Convolution, FNet, FrequencyLayers, GFNet
from overtone.nn.patch_spectrum import PatchSpectrum
from overtone.nn.perceiver import CrossAttention, LatentAttention, PerceiverEncoder
from overtone.nn.shfin import SHFIN, DeepSHFIN

__all__ = [
    "AFNO",
    "SHFIN",
    "AdaptiveSHFIN",
    "Attention",
    "AttentionBlock",
    "Convolution",
    "CrossAttention",
    "DeepSHFIN",
    "FNet",
    "FourierFeatures",
    "FrequencyLayers",
    "GFNet",
    "GatedSHFIN",
    "LatentAttention",
    "MixerBlock",
    "PatchSpectrum",
    "PerceiverEncoder",
    "grid",
]
