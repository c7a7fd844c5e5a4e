"""The ways of adapting that FARL is measured against, behind one interface: same towers, pictures and seeds."""

import importlib.util

from overtone.errors import UserError, did_you_mean
from overtone.farl.methods.coop import CoOp
from overtone.farl.methods.interface import Ensembled, Fitted, Method, PictureFeatures
from overtone.farl.methods.linear_probe import LinearProbe
from overtone.farl.methods.lora import Lora
from overtone.farl.methods.tip_adapter import TipAdapter
from overtone.farl.methods.tokens import TOKEN_METHODS
from overtone.farl.methods.wise import Wise
from overtone.farl.methods.zero_shot import ZeroShot

__all__ = ["METHODS", "Ensembled", "Fitted", "Method", "PictureFeatures", "method"]

WITHOUT_WEIGHTS: tuple[Method, ...] = (ZeroShot(), TipAdapter(trained=False))
WITH_WEIGHTS: tuple[Method, ...] = (LinearProbe(), TipAdapter(trained=True), CoOp(), Lora(), *TOKEN_METHODS)
METHODS: dict[str, Method] = {
    one.name: one for one in (*WITHOUT_WEIGHTS, *WITH_WEIGHTS, *(Wise(one) for one in WITH_WEIGHTS))
}


def method(name: str) -> Method:
    """Return the method called `name`; UserError when there is none, or when the package that it needs is missing."""
    if name not in METHODS:
        raise UserError(f"No method {name!r}.{did_you_mean(name, METHODS)} There are {', '.join(METHODS)}.")
    if name.partition("+")[0] == Lora.name and importlib.util.find_spec("peft") is None:
        raise UserError(f"The method {name!r} needs peft. Get it with: pip install 'overtone[lora]'")
    return METHODS[name]
