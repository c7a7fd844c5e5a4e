"""Networks of finite width in the parametrisation of the theory."""

import math
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear


class NtkLinear(nn.Linear):
    """Map h to weight_scale / sqrt(in_features) W h + bias_scale b, all W and b from N(0, 1) (Jacot et al. 2018).

    Functions at the start are those of a usual layer; but gradients, and so the tangent kernel, have a limit as the
    width grows. A bias_scale of 0 leaves the bias out.
    """

    def __init__(
        self, in_features: int, out_features: int, weight_scale: float = math.sqrt(2), bias_scale: float = 0.0
    ) -> None:
        self.weight_scale = weight_scale / math.sqrt(in_features)
        self.bias_scale = bias_scale
        super().__init__(in_features, out_features, bias=bias_scale != 0)

    def reset_parameters(self) -> None:
        """Draw all parameters from N(0, 1)."""
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, input: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Apply the map."""
        bias = None if self.bias is None else self.bias_scale * self.bias
        return linear(input, self.weight_scale * self.weight, bias)


def relu_network(
    d: int, width: int, depth: int, outputs: int = 1, weight_scale: float = math.sqrt(2), bias_scale: float = 0.0
) -> nn.Sequential:
    """Return a random ReLU network whose tangent kernel tends to that of `analytic` as `width` grows.

    The distance falls as 1 / sqrt(width). The network has `depth` hidden layers; before it goes an encoding of width
    d: `nn.Sequential(encoding, network)`.
    """
    widths = [d, *[width] * depth, outputs]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [NtkLinear(before, after, weight_scale, bias_scale), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
