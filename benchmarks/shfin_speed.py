"""SHFIN's matrix form beside the seed's literal FFT form, interleaved in one run: `python -m benchmarks.shfin_speed`.

Transform: patches to K kept coefficients and back, forward and backward. Mixer: all of SHFIN, forward and backward. The
literal form is rfft2, a mask over the half spectrum, mixing of complex numbers, zeros elsewhere, irfft2. Whole
networks are measured by `overtone bench`.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from benchmarks.table import machine
from torch import Tensor

from overtone.nn import SHFIN
from overtone.spectral.k_hot import top_k
from overtone.tasks.bench import interleaved
from overtone.tasks.bench_result import Protocol

STAGES = {
    "stage 1": (64, 56, 14),
    "stage 2": (128, 28, 14),
    "stage 3": (256, 14, 14),
    "stage 4": (384, 7, 7),
}  # Small's
KEPT, RANK = 16, 4


class Literal:
    """The seed's equations by FFT, with the weights of a SHFIN."""

    def __init__(self, made: SHFIN) -> None:
        self.made, s = made, made.patch[0]
        f = made.f[top_k(made.scores.detach(), made.kept)] % s
        self.conjugate = (f[:, 1] > s // 2)[:, None]  # not in rfft2's half, but the conjugate of what is there
        self.rows, self.columns = torch.where(self.conjugate, (-f) % s, f).unbind(1)
        self.twins = (-self.rows) % s
        self.paired = ((self.columns == 0) | (2 * self.columns == s)) & (self.twins != self.rows)

    def transform(self, patches: Tensor, mix: Callable[[Tensor], Tensor]) -> Tensor:
        """Return patches (all, s, s, dim) after a function of their kept coefficients (all, K, dim)."""
        spectrum = torch.fft.rfft2(patches, dim=(1, 2), norm="ortho")
        filled = torch.zeros_like(spectrum)
        Z = spectrum[:, self.rows, self.columns]
        M = mix(torch.where(self.conjugate, Z.conj(), Z))
        M = torch.where(self.conjugate, M.conj(), M)
        filled[:, self.rows, self.columns] = M
        filled[:, self.twins[self.paired], self.columns[self.paired]] = M[:, self.paired].conj()
        return torch.fft.irfft2(filled, s=patches.shape[1:3], dim=(1, 2), norm="ortho")

    def mix(self, Z: Tensor) -> Tensor:
        """Return M of complex coefficients."""
        made = self.made
        W = [w.to(Z.dtype) for w in (*made.query_key.weight.T.chunk(2, dim=1), made.value.weight.T)]
        Q, K, V = (Z @ w for w in W)
        weights = ((Q @ K.mH).real / RANK**0.5).softmax(-1) * made.theta[: made.kept].sigmoid()[:, None]
        return weights.to(V.dtype) @ V


def there_and_back(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """Return what computes the function and its gradient."""

    def run() -> None:
        function(x).sum().backward()
        x.grad = None

    return run


def main() -> None:
    """Measure every stage of Small and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    protocol = Protocol(machine(), options.batch, warmups=2, runs=options.rounds, image_size=224)
    print(f"Median of {protocol.runs} rounds, batch {protocol.batch_size}, forward and backward; {protocol.device}\n")
    print(
        "| | matrices, ms | rfft2, ms | times | whole mixer, ms | literal FFT form, ms | times |\n|---|" + "---:|" * 6
    )
    for name, (dim, side, patch) in STAGES.items():
        torch.manual_seed(0)
        made = SHFIN(dim, patch, KEPT, RANK).eval()
        literal = Literal(made)
        kept = top_k(made.scores.detach(), KEPT)
        A, S = made.A[kept].flatten(0, 1), made.S[kept].flatten(0, 1).T
        x = torch.randn(protocol.batch_size, side, side, dim, requires_grad=True)
        patches = made._divide(x).detach().requires_grad_()
        squares = patches.detach().unflatten(1, (patch, patch)).requires_grad_()

        def whole(x: Tensor, made: SHFIN = made, literal: Literal = literal) -> Tensor:
            mixed = literal.transform(made._divide(x).unflatten(1, made.patch), literal.mix)
            return made._join(mixed.flatten(1, 2), x.shape)

        torch.testing.assert_close(whole(x), made(x), atol=1e-4, rtol=1e-3)  # the same in float32's rounding
        seconds = interleaved(
            {
                "matrices": there_and_back(lambda p, A=A, S=S: S @ (A @ p), patches),
                "rfft2": there_and_back(lambda p, literal=literal: literal.transform(p, lambda Z: Z), squares),
                "mixer": there_and_back(made, x),
                "literal": there_and_back(whole, x),
            },
            protocol,
            name,
        )
        found = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
        ratios = found["rfft2"] / found["matrices"], found["literal"] / found["mixer"]
        print(
            f"| {name}: {side} x {side} x {dim} | {found['matrices']:.1f} | {found['rfft2']:.1f} | {ratios[0]:.1f} "
            f"| {found['mixer']:.1f} | {found['literal']:.1f} | {ratios[1]:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
