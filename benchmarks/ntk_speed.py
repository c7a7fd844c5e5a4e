"""The structured tangent kernel beside Jacobian contraction, in one run: `python -m benchmarks.ntk_speed`.

A perceptron 2-510-510-1 of 262 k parameters on 512 points, float64; the best of several runs of each. A minute.
"""

import argparse
import time
from collections.abc import Callable

import torch
from benchmarks.table import machine
from torch import Tensor, nn

from overtone.ntk import empirical
from overtone.ntk.finite import Method

METHODS: dict[Method, str] = {
    "structured": "structured (activations)",
    "jacobian": "Jacobian contraction (torch.func)",
    "products": "NTK-vector products (torch.func), a column at a time",
}


def fastest(runs: int, function: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the seconds of the fastest run and what it returned."""
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        result = function()
        if result.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds), result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=512)
    parser.add_argument("--width", type=int, default=510)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["structured", "jacobian"])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    width = options.width
    module = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
    module = module.double().to(options.device)
    x = torch.rand(options.points, 2, dtype=torch.float64, device=options.device)
    parameters = sum(p.numel() for p in module.parameters())
    print(f"{len(x)} points, {parameters:,} parameters, float64; {machine()}, {torch.get_num_threads()} threads\n")
    print("| route | seconds | times structured | largest difference / largest value |\n|---|---:|---:|---:|")
    base, K = fastest(options.runs, lambda: empirical(module, x, x, "structured"))
    for method in options.methods:
        seconds, other = fastest(options.runs, lambda method=method: empirical(module, x, x, method))
        difference = ((other - K).abs().max() / K.abs().max()).item()
        print(f"| {METHODS[method]} | {seconds:.3f} | {seconds / base:.1f} | {difference:.0e} |", flush=True)


if __name__ == "__main__":
    main()
