"""SHFIN against a naive FFT version in float64, and its properties."""

import io
import itertools
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overtone.nn import SHFIN, DeepSHFIN, MixerBlock
from overtone.nn.shfin import schedule
from overtone.spectral.patch_dft import analysis_synthesis

ROUNDING = 1e-10  # float64 through two transforms and a softmax


def mixer(dim: int = 6, patch=4, kept: int = 5, rank: int = 2, **options) -> SHFIN:
    torch.manual_seed(0)
    made = SHFIN(dim, patch, kept, rank, **options).double()
    made.reset_buffers()  # A and S to float64's rounding
    with torch.no_grad():
        made.scores.normal_()
        made.theta.normal_()
    return made.eval()


def naive(made: SHFIN, x: torch.Tensor) -> torch.Tensor:
    """Transform each patch by fftn, mix complex numbers, fill the full spectrum with zeros and go back by ifftn."""
    patch, axes = made.patch, tuple(range(len(made.patch)))
    padded = torch.nn.functional.pad(
        x, [0, 0, *(v for n, s in reversed(list(zip(x.shape[1:-1], patch, strict=True))) for v in (0, -n % s))]
    )
    out = torch.zeros_like(padded)
    Wq, Wk = made.query_key.weight.T.chunk(2, dim=1)
    kept = made.scores.topk(made.kept).indices
    steps = [range(0, n, s) for n, s in zip(padded.shape[1:-1], patch, strict=True)]
    for b in range(len(x)):
        for corner in itertools.product(*steps):
            where = (b, *(slice(c, c + s) for c, s in zip(corner, patch, strict=True)))
            F = torch.fft.fftn(padded[where], dim=axes, norm="ortho")
            bins = [tuple(int(v) % s for v, s in zip(made.f[i], patch, strict=True)) for i in kept]
            Z = torch.stack([F[f] for f in bins])
            Q, K, V = (Z @ W.to(Z.dtype) for W in (Wq, Wk, made.value.weight.T))
            M = ((Q @ K.mH).real / Wq.shape[1] ** 0.5).softmax(-1).to(Z.dtype) @ V
            M = made.theta[kept].sigmoid()[:, None] * M
            filled = torch.zeros_like(F)
            for f, m in zip(bins, M, strict=True):
                twin = tuple(-v % s for v, s in zip(f, patch, strict=True))
                filled[f] = m if twin != f else m.real.to(m.dtype)
                if twin != f:
                    filled[twin] = m.conj()
            out[where] = torch.fft.ifftn(filled, dim=axes, norm="ortho").real
    return out[tuple(slice(n) for n in x.shape)]


@pytest.mark.parametrize(
    ("patch", "size"),
    [((8,), (16,)), ((5,), (13,)), ((4, 4), (8, 8)), ((3, 5), (7, 9)), ((4, 2), (4, 6)), ((2, 3, 4), (4, 5, 4))],
)
def test_equals_the_naive_version_in_values_and_gradients(patch: tuple[int, ...], size: tuple[int, ...]) -> None:
    made = mixer(patch=patch, kept=3)
    x = torch.randn(2, *size, 6, dtype=torch.float64, requires_grad=True)
    inputs = [x, made.value.weight, made.query_key.weight, made.theta]
    ours, theirs = made(x), naive(made, x)
    torch.testing.assert_close(ours, theirs, atol=ROUNDING, rtol=0)
    weight = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((theirs * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("patch", [(6,), (3, 4), (2, 2, 3)])
def test_gradcheck(patch: tuple[int, ...]) -> None:
    made = mixer(dim=2, patch=patch, kept=3, rank=1)
    x = torch.randn(1, *patch, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, x)


class Identity(SHFIN):
    def mix(self, Z: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return Z


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), st.booleans(), st.data())
@settings(deadline=None, max_examples=30)
def test_all_kept_and_mixed_by_the_identity_gives_the_input_back(patch, shift: bool, data: st.DataObject) -> None:
    size = [data.draw(st.integers(1, 9)) for _ in patch]
    made = Identity(3, patch, len(SHFIN(3, patch, 1, 1).f), 1, shift=shift).double()
    made.reset_buffers()
    x = torch.randn(2, *size, 3, dtype=torch.float64)
    torch.testing.assert_close(made(x), x, atol=ROUNDING, rtol=0)


def test_a_position_reaches_its_own_patch_and_no_other() -> None:
    made = mixer(patch=4, kept=10)
    x = torch.randn(1, 8, 8, 6, dtype=torch.float64)
    moved = x.clone()
    moved[0, 1, 2] += 1
    changed = (made(moved) - made(x)).abs().sum(-1)[0] > 1e-9
    assert changed[:4, :4].all()
    assert not changed[4:].any()
    assert not changed[:, 4:].any()


def test_shifted_patches_reach_across_the_borders_of_plain_ones() -> None:
    made = mixer(patch=4, kept=10, shift=True)
    x = torch.randn(1, 8, 8, 6, dtype=torch.float64)
    moved = x.clone()
    moved[0, 3, 3] += 1
    changed = (made(moved) - made(x)).abs().sum(-1)[0] > 1e-9
    assert changed[2:6, 2:6].all()
    assert not changed[:2].any()
    assert not changed[6:].any()


def test_moves_with_shifts_by_whole_patches() -> None:
    made = mixer(patch=4)
    x = torch.randn(1, 12, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(made(x.roll((4, 4), (1, 2))), made(x).roll((4, 4), (1, 2)), atol=ROUNDING, rtol=0)


def test_padding_counts_as_zero_and_stays_zero() -> None:
    made = mixer(patch=(5,), kept=3)
    x = torch.randn(2, 17, 6, dtype=torch.float64)
    mask = torch.arange(17) < torch.tensor([[9], [17]])
    mixed = made(x, mask)
    torch.testing.assert_close(mixed[:1, :9], made(x[:1, :9]), atol=ROUNDING, rtol=0)
    assert (mixed[0, 9:] == 0).all()


def test_training_and_evaluation_have_one_state() -> None:
    made = mixer()
    made.anneal(0.3, 1.0, torch.Generator().manual_seed(0))
    assert set(made.train().state_dict()) == {"scores", "theta", "query_key.weight", "value.weight"}
    again = SHFIN(6, 4, 5, 2).double().eval()
    again.load_state_dict(made.state_dict())
    x = torch.randn(1, 8, 8, 6, dtype=torch.float64)
    assert torch.equal(again(x), made.eval()(x))


def test_without_noise_training_computes_what_evaluation_does() -> None:
    made, x = mixer(), torch.randn(1, 8, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(made.train()(x), made.eval()(x), atol=ROUNDING, rtol=0)


def test_noise_follows_from_the_generator_alone() -> None:
    first, second = mixer(), mixer()
    for made, seed in ((first, 3), (second, 3)):
        made.anneal(1.0, 1.0, torch.Generator().manual_seed(seed))
    assert torch.equal(first.noise, second.noise)
    second.anneal(1.0, 0.0, torch.Generator())
    assert (second.noise == 0).all()


def test_the_schedule_is_the_seed_s() -> None:
    assert schedule(0) == (1.0, 1.0)
    np.testing.assert_allclose(schedule(0.15), (0.65, 0.5))
    np.testing.assert_allclose(schedule(1.0), (0.3, 0.0), atol=1e-12)


class Linear(SHFIN):
    def mix(self, Z: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return self.value(Z)


@pytest.mark.parametrize("estimator", ["bisected", "successive"])
def test_finds_planted_frequencies(estimator) -> None:
    """A target of three frequencies of the input, whose other frequencies are as strong: these three must be kept."""
    torch.manual_seed(0)
    made, planted, generator = Linear(4, 16, 3, 1, axes=1, estimator=estimator), [3, 5, 7], torch.Generator()
    A, S = analysis_synthesis((16,), torch.tensor(planted)[:, None])
    target = torch.randn(4, 4)
    optimizer = torch.optim.Adam([{"params": made.scores, "lr": 0.05}, {"params": made.value.weight, "lr": 0.01}])
    for step in range(400):
        made.anneal(*schedule(step / 400), generator.manual_seed(step))
        x = torch.randn(64, 16, 4)
        loss = (made(x) - S.flatten(1) @ (A.flatten(0, 1) @ x) @ target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert sorted(made.chosen.flatten().tolist()) == planted


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype: torch.dtype) -> None:
    made = mixer().float()
    x = torch.randn(2, 8, 8, 6)
    exact = made(x).detach()
    half = made.to(dtype)(x.to(dtype))
    assert half.dtype == dtype
    # bf16 has 8 bits: 2^-8 relative in each of the four products
    torch.testing.assert_close(half.detach().float(), exact, atol=0.03 * float(exact.abs().max()), rtol=0)


def test_autocast_computes_the_softmax_in_float32() -> None:
    made = mixer().float()
    with torch.autocast("cpu", torch.bfloat16):
        assert made(torch.randn(1, 8, 8, 6)).dtype == torch.bfloat16


@pytest.mark.unchecked
@pytest.mark.parametrize("training", [False, True])
def test_compiles_into_one_graph_without_complex_numbers(training: bool) -> None:
    made = mixer(shift=True).train(training)
    graphs = []

    def look(graph: torch.fx.GraphModule, inputs: list) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    x = torch.randn(2, 9, 8, 6, dtype=torch.float64)
    compiled = torch.compile(made, backend=look, fullgraph=True)
    torch.testing.assert_close(compiled(x), made(x), atol=ROUNDING, rtol=0)
    assert len(graphs) == 1
    assert "fft" not in graphs[0].code
    assert "complex" not in graphs[0].code


def test_onnx_agrees() -> None:
    made = mixer(dim=8, patch=4, kept=6).float()
    x = torch.randn(2, 10, 8, 8)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(made, (x,), dynamo=True, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, made(x).detach().numpy(), atol=1e-5)  # the bound


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kept": 11}, "kept must be from 1 to 10"),
        ({"kept": 0}, "kept must be from 1 to 10"),
        ({"patch": 0}, "must be 1 or more"),
        ({"rank": 0}, "must be 1 or more"),
        ({"estimator": "gumbel"}, "estimator must be one of bisected, successive"),
    ],
)
def test_refuses_what_is_out_of_range(arguments: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SHFIN(**({"dim": 4, "patch": 4, "kept": 3, "rank": 2} | arguments))


def test_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"x must be \(batch, axis 1, axis 2, dim = 6\), got \(1, 8, 6\)"):
        mixer()(torch.randn(1, 8, 6))


def test_pre_and_post_norm_are_the_equations() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 4, 6, dtype=torch.float64)
    for norm in ("pre", "post"):
        block = MixerBlock(mixer(), 6, 2, norm).double().eval()
        if norm == "post":
            y = block.norm_mixer(x + block.mixer(x))
            expected = block.norm_feed_forward(y + block.feed_forward(y))
        else:
            y = x + block.mixer(block.norm_mixer(x))
            expected = y + block.feed_forward(block.norm_feed_forward(y))
        assert torch.equal(block(x), expected)


@pytest.mark.unchecked
def test_refuses_another_norm() -> None:
    with pytest.raises(ValueError, match='norm must be "pre" or "post"'):
        MixerBlock(mixer(), 6, 2, "none")


def test_a_deep_one_without_its_feed_forward_is_shfin() -> None:
    torch.manual_seed(0)
    deep, plain = DeepSHFIN(6, 4, 5, 2).double(), SHFIN(6, 4, 5, 2).double()
    plain.load_state_dict({k: v for k, v in deep.state_dict().items() if k in plain.state_dict()})
    x = torch.randn(2, 9, 8, 6, dtype=torch.float64)
    assert not torch.allclose(deep(x), plain(x))
    with torch.no_grad():
        deep.feed_forward[2].weight.zero_()
        deep.feed_forward[2].bias.zero_()
    assert torch.equal(deep(x), plain(x))


def test_a_deep_one_s_feed_forward_sees_coefficients_alone() -> None:
    """What the kept frequencies do not hold cannot change what is put out."""
    deep = DeepSHFIN(6, 4, 5, 2).double().eval()
    deep.reset_buffers()
    x = torch.randn(1, 4, 4, 6, dtype=torch.float64)
    highest, _ = analysis_synthesis((4, 4), deep.f[-1:], torch.float64)
    assert deep.f[-1].tolist() not in deep.chosen.tolist()
    unseen = highest[0, 0].view(4, 4, 1).expand(4, 4, 6)
    torch.testing.assert_close(deep(x + unseen), deep(x), atol=ROUNDING, rtol=0)


def test_whatever_stands_in_padding_is_not_seen() -> None:
    made = mixer(patch=(5,), kept=3)
    x = torch.randn(2, 17, 6, dtype=torch.float64)
    mask = torch.arange(17) < torch.tensor([[9], [17]])
    spoilt = x.masked_fill(~mask[..., None], torch.nan)
    assert torch.equal(made(spoilt, mask), made(x, mask))


@pytest.mark.unchecked
@pytest.mark.parametrize("mask", [torch.ones(1, 8, dtype=torch.bool), torch.ones(1, 8, 8)])
def test_refuses_another_mask(mask: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"mask must be bool \(1, 8, 8\), got torch"):
        mixer()(torch.randn(1, 8, 8, 6, dtype=torch.float64), mask)


def test_an_empty_batch_stays_empty() -> None:
    for made in (mixer(shift=True), DeepSHFIN(6, 4, 5, 2).double()):
        assert made(torch.zeros(0, 9, 8, 6, dtype=torch.float64)).shape == (0, 9, 8, 6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_same_frequencies(dtype: torch.dtype) -> None:
    """Scores that differ by less than bfloat16's step: rounded, they would be ties, and the first would be kept."""
    made = mixer(kept=3).float()
    with torch.no_grad():
        made.scores.copy_(1 + 1e-4 * torch.arange(10))
    half = made.to(dtype)
    assert half.chosen.tolist() == half.f[[9, 8, 7]].tolist()
    assert {name: p.dtype for name, p in half.named_parameters()} == {
        "scores": torch.float32,
        "theta": torch.float32,
        "query_key.weight": dtype,
        "value.weight": dtype,
    }
    half.train()(torch.randn(1, 8, 8, 6, dtype=dtype)).sum().backward()
    assert half.scores.grad.isfinite().all()


def test_float16_attends_to_large_coefficients() -> None:
    """The products of queries and keys pass 65,504, float16's largest number."""
    made = mixer(dim=6).float()
    x = 100 + 100 * torch.randn(1, 8, 8, 6)
    with torch.autocast("cpu", torch.float16):
        assert made(x).isfinite().all()
    assert made.half()(x.half()).isfinite().all()


@pytest.mark.parametrize("shift", [False, True])
def test_exports_with_any_batch(shift: bool) -> None:
    made, batch = mixer(shift=shift), torch.export.Dim("batch")
    x = torch.randn(2, 9, 8, 6, dtype=torch.float64)
    exported = torch.export.export(made, (x,), dynamic_shapes=({0: batch},)).module()
    more = torch.randn(5, 9, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(exported(more), made(more), atol=ROUNDING, rtol=0)


def test_computes_without_numbers() -> None:
    """On the meta device, where sizes and work are counted."""
    assert mixer().float().to("meta")(torch.empty(1, 8, 8, 6, device="meta")).shape == (1, 8, 8, 6)
