"""What a network with a fixed tangent kernel has learned at any time, and at the end."""

import torch
from jaxtyping import Float
from torch import Tensor


def spectrum(kernel: Float[Tensor, "n n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """Return the eigenvalues of a kernel matrix, largest first, and the eigenvectors as columns, in float64.

    The component of the target along eigenvector i is learned at rate i. Eigenvalues below 0 are rounding and
    returned as 0.

    Raises ValueError for a matrix that is not symmetric.
    """
    K = kernel.double()
    if K.dim() != 2 or K.shape[0] != K.shape[1] or (K - K.T).abs().max() > 1e-5 * K.abs().max():
        raise ValueError(f"kernel must be a symmetric matrix of training points, not one of shape {tuple(K.shape)}")
    eigenvalues, V = torch.linalg.eigh(K)
    return eigenvalues.flip(0).clamp_min(0), V.flip(1)


def predict(
    kernel_train: Float[Tensor, "n n"],
    kernel_test: Float[Tensor, "m n"],
    y: Float[Tensor, "n *outputs"],
    time: float | Float[Tensor, "*times"],
    f0: float | tuple[Float[Tensor, "n *outputs"], Float[Tensor, "m *outputs"]] = 0.0,
) -> Float[Tensor, "*times_m_outputs"]:
    """Return what the network outputs on the test points at these times of its training, in float64.

    Gradient flow on L = 1/2 sum_i |f(x_i) - y_i|^2 gives (Jacot et al. 2018; Tancik et al. 2020, eq. 3)

        f(t) = f0_test + K_test V diag((1 - exp(-l t)) / l) V^T (y - f0_train),   K_train = V diag(l) V^T.

    `time` counts learning rate x steps of that loss. Of the usual mean over n values without the half, s steps at
    rate eta are a time of 2 eta s / n. Steps follow the flow while their rate is well under 1 / l_max. `f0` is a
    number, or the outputs before training on the training and on the test points (the published code of Tancik et al.
    takes the current output in its place).

    Raises ValueError for a negative time or a kernel that is not symmetric.
    """
    t = torch.as_tensor(time, dtype=torch.float64, device=kernel_train.device)
    if (t < 0).any():
        raise ValueError(f"time is at least 0, not {t.min()}")
    start_train, start_test = f0 if isinstance(f0, tuple) else (f0, f0)
    eigenvalues, V = spectrum(kernel_train)
    gain = _gain(eigenvalues, t[..., None])
    shape = y.shape[1:]
    components = V.T @ (y.double() - start_train).reshape(len(y), -1)
    learned = (kernel_test.double() @ V) @ (gain[..., None] * components)
    return start_test + learned.reshape(*t.shape, len(kernel_test), *shape)


def regress(
    kernel_train: Float[Tensor, "n n"],
    kernel_test: Float[Tensor, "m n"],
    y: Float[Tensor, "n *outputs"],
    jitter: float = 1e-8,
) -> Float[Tensor, "m *outputs"]:
    """Return K_test (K_train + d I)^-1 y: where training ends, from f0 = 0 (kernel ridge regression), in float64.

    d is `jitter` times the mean of K_train's diagonal.

    Raises ValueError where K_train + d I is not positive definite.
    """
    solution = torch.cholesky_solve(y.double().reshape(len(y), -1), _factor(kernel_train, jitter))
    return (kernel_test.double() @ solution).reshape(-1, *y.shape[1:])


def leave_one_out(
    kernel: Float[Tensor, "n n"], y: Float[Tensor, "n *outputs"], jitter: float = 1e-8
) -> Float[Tensor, "n *outputs"]:
    """Return y_i less what `regress` predicts for it from all other points, in float64.

    No point is left out in fact: the error is [A^-1 y]_i / [A^-1]_ii, A = K + d I (Rasmussen & Williams 2006, 5.12).
    """
    inverse = torch.cholesky_inverse(_factor(kernel, jitter))
    errors = inverse @ y.double().reshape(len(y), -1) / inverse.diagonal()[:, None]
    return errors.reshape(y.shape)


def _gain(eigenvalues: Float[Tensor, "..."], t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return (1 - exp(-l t)) / l, which is t at l = 0."""
    some = eigenvalues > 0
    return torch.where(some, -torch.expm1(-eigenvalues * t) / torch.where(some, eigenvalues, 1), t)


def _factor(kernel: Float[Tensor, "n n"], jitter: float) -> Float[Tensor, "n n"]:
    """Return the Cholesky factor of K + d I."""
    if not jitter >= 0:
        raise ValueError(f"jitter is a part of the kernel's diagonal, at least 0, not {jitter}")
    K = kernel.double()
    K = K + jitter * K.diagonal().mean() * torch.eye(len(K), dtype=K.dtype, device=K.device)
    factor, failed = torch.linalg.cholesky_ex(K)
    if failed:
        raise ValueError(
            f"the kernel is not positive definite with jitter={jitter}; duplicate points need a larger one"
        )
    return factor
