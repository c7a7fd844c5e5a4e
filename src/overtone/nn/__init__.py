"""Layers."""

from overtone.nn.attention import AttentionBlock
from overtone.nn.fourier_features import FourierFeatures, grid

__all__ = ["AttentionBlock", "FourierFeatures", "grid"]
