"""Empirical kernels: three routes against finite differences and each other."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.testing import assert_close

from overtone.nn import AttentionBlock, FourierFeatures
from overtone.ntk import NtkLinear, empirical, product, relu_network

METHODS = ["structured", "jacobian", "products"]


class Shared(nn.Module):
    """The same layer twice, outside of a Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x)))


def twice() -> nn.Sequential:
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.Tanh(), layer)


def frozen() -> nn.Sequential:
    network = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    network[2].bias.requires_grad_(False)
    return network


PERCEPTRONS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(3, 2),
    "ntk": lambda: relu_network(3, 6, 2, outputs=2, weight_scale=1.3, bias_scale=0.4),
    "ntk without bias": lambda: relu_network(3, 6, 1),
    "sigmoid at the end": lambda: nn.Sequential(nn.Linear(3, 6), nn.ReLU(inplace=True), nn.Linear(6, 3), nn.Sigmoid()),
    "no bias": lambda: nn.Sequential(nn.Linear(3, 6, bias=False), nn.Softplus(), nn.Linear(6, 1)),
    "encoded": lambda: nn.Sequential(
        FourierFeatures.random(3, 4, std=0.5), nn.Sequential(nn.Linear(8, 5), nn.SiLU(), nn.Linear(5, 2))
    ),
    "frozen": frozen,
}
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "shared": Shared,
    "twice": twice,
    "learned encoding": lambda: nn.Sequential(FourierFeatures.learned(3, 4), nn.Linear(8, 2)),
    "normed": lambda: nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 2)),
    "nothing trained at the end": lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=-1)),
}


def make(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return (PERCEPTRONS | OTHERS)[kind]().double()


def points(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_finite_differences(module: nn.Module, x1: Tensor, x2: Tensor) -> Tensor:
    """Return the mean over outputs of J J'^T, each parameter moved by itself."""
    h, columns = 1e-6, []
    with torch.no_grad():
        for parameter in (p for p in module.parameters() if p.requires_grad):
            flat = parameter.view(-1)
            for i in range(len(flat)):
                start, values = flat[i].item(), []
                for step in (h, -h):
                    flat[i] = start + step
                    values.append(torch.cat([module(x1), module(x2)]))
                flat[i] = start
                columns.append((values[0] - values[1]) / (2 * h))
    J = torch.stack(columns, dim=-1)  # (n1 + n2, outputs, parameters)
    return torch.einsum("aop,bop->ab", J[: len(x1)], J[len(x1) :]) / J.shape[1]


@pytest.mark.parametrize("method", [*METHODS, "auto"])
@pytest.mark.parametrize("kind", PERCEPTRONS)
def test_perceptrons_against_finite_differences(kind: str, method: str) -> None:
    module, x1, x2 = make(kind), points(4), points(3, 1)
    expected = by_finite_differences(module, x1, x2)
    assert_close(empirical(module, x1, x2, method), expected, atol=1e-7, rtol=1e-7)  # truncation h^2, rounding 1e-16/h


@pytest.mark.parametrize("method", ["jacobian", "products", "auto"])
@pytest.mark.parametrize("kind", OTHERS)
def test_other_modules_against_finite_differences(kind: str, method: str) -> None:
    module, x1, x2 = make(kind), points(4), points(3, 1)
    assert_close(empirical(module, x1, x2, method), by_finite_differences(module, x1, x2), atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_perceptron_is_refused_by_the_structured_route(kind: str) -> None:
    with pytest.raises(ValueError, match="structured"):
        empirical(make(kind), points(2), points(2), "structured")


def test_reparametrised_layers_are_refused_by_the_structured_route() -> None:
    """Their weight is no parameter, and its derivative no outer product."""
    module = nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)).double()
    with pytest.raises(ValueError, match="structured"):
        empirical(module, points(2), points(2), "structured")


@given(
    widths=st.lists(st.integers(1, 7), min_size=2, max_size=5),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    activation=st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, nn.LeakyReLU]),
    seed=st.integers(0, 999),
)
@settings(max_examples=25, deadline=None)
def test_the_three_routes_agree(
    widths: list[int], sizes: tuple[int, int], activation: type[nn.Module], seed: int
) -> None:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in zip([3, *widths[:-1]], widths, strict=True):
        layers += [nn.Linear(before, after), activation()]
    module, x1, x2 = nn.Sequential(*layers).double(), points(sizes[0], seed), points(sizes[1], seed + 1)
    kernels = [empirical(module, x1, x2, method) for method in METHODS]
    assert_close(kernels[1], kernels[0], atol=1e-13, rtol=1e-13)
    assert_close(kernels[2], kernels[0], atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_one_set_of_points_gives_a_positive_semi_definite_matrix(method: str) -> None:
    x = points(20)
    K = empirical(make("ntk"), x, x, method)
    assert_close(K, K.T)
    assert torch.linalg.eigvalsh(K)[0] > -1e-12 * K.diagonal().max()
    assert_close(K, empirical(make("ntk"), x, x.clone(), method))


@pytest.mark.parametrize("kind", ["ntk", "shared"])
def test_blocks_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, x1, x2 = make(kind), points(7), points(5, 1)
    whole = [empirical(module, x1, b, "jacobian") for b in (x1, x2)]
    monkeypatch.setattr("overtone.ntk.finite.BLOCK", 3 * 2 * sum(p.numel() for p in module.parameters()))
    for b, K in zip((x1, x2), whole, strict=True):
        assert_close(empirical(module, x1, b, "jacobian"), K)


@pytest.mark.parametrize("kind", ["ntk", "shared"])
def test_products_are_those_of_the_matrix(kind: str) -> None:
    module, x1, x2 = make(kind), points(6), points(4, 1)
    v = torch.randn(4, 3, dtype=torch.float64)
    assert_close(product(module, x1, x2, v), empirical(module, x1, x2, "jacobian") @ v)


def test_convolutions_and_attention() -> None:
    """Inputs of any shape; outputs of any shape count as many outputs."""
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).double()
    pictures = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    attention, tokens = AttentionBlock(8, 2).double(), torch.randn(3, 4, 8, dtype=torch.float64)
    for module, x in ((convolution, pictures), (attention, tokens)):
        K = empirical(module, x, x)
        assert_close(empirical(module, x, x, "products"), K)
        single = empirical(module, x[:1], x[1:2])
        assert_close(single, K[:1, 1:2])
    rows = [
        torch.autograd.grad(convolution(pictures[i : i + 1])[0, o], list(convolution.parameters()))
        for i in range(5)
        for o in range(2)
    ]
    J = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).view(5, 2, -1)
    assert_close(empirical(convolution, pictures, pictures), torch.einsum("aop,bop->ab", J, J) / 2)


def test_the_module_is_left_alone() -> None:
    module, x = make("ntk"), points(3)
    before = {name: p.clone() for name, p in module.named_parameters()}
    for method in METHODS:
        K = empirical(module, x, x, method)
        assert not K.requires_grad
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in module.named_parameters())
    assert all(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_float32_stays(method: str) -> None:
    torch.manual_seed(0)
    module, x = relu_network(3, 16, 2), points(4).float()
    K = empirical(module, x, x, method)
    assert K.dtype == torch.float32
    assert_close(K, empirical(module.double(), x.double(), x.double(), "jacobian").float(), atol=1e-4, rtol=1e-4)


def test_ntk_layers_start_as_usual_layers_do() -> None:
    torch.manual_seed(0)
    layer = NtkLinear(400, 300, weight_scale=1.5, bias_scale=0.5)
    y = layer(torch.ones(400))
    assert y.std().item() == pytest.approx((1.5**2 + 0.5**2) ** 0.5, rel=0.16)  # 4 deviations of 1 / sqrt(600)
    assert NtkLinear(4, 4).bias is None


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: empirical(make("ntk"), points(2), points(2), "fast"), "method is one of"),
        (lambda: empirical(nn.Sequential(nn.ReLU()), points(2), points(2)), "no trainable parameters"),
    ],
)
def test_bad_arguments(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
