"""FARL: adapt a vision-language model to few pictures through Fourier-attentive tokens."""

from overtone.farl.adapter import Adapter, ImageFeatures, default_templates
from overtone.farl.cache import StateCache
from overtone.farl.injection import encode_with_tokens, first_layer
from overtone.farl.model import FarlConfig, FarlModel
from overtone.farl.recipes import Recipe, recipe_for
from overtone.farl.states import ImageStates, TextStates, image_states, text_states
from overtone.farl.tokens import INJECTIONS, Injection, RepresentationTokens
from overtone.farl.views import Views

__all__ = [
    "INJECTIONS",
    "Adapter",
    "FarlConfig",
    "FarlModel",
    "ImageFeatures",
    "ImageStates",
    "Injection",
    "Recipe",
    "RepresentationTokens",
    "StateCache",
    "TextStates",
    "Views",
    "default_templates",
    "encode_with_tokens",
    "first_layer",
    "image_states",
    "recipe_for",
    "text_states",
]
