"""BackPACK and curvlinops: libraries for the curvature of PyTorch modules, on the same nn.Sequential.

Their mean-squared error sums (y − t)² without the factor ½, so their curvature is twice graphbp's and is halved.
"""

from __future__ import annotations

from typing import Any

from benchmarks.networks import Array, Mlp
from benchmarks.outcome import Run
from benchmarks.peers import need
from benchmarks.peers.torch_peer import sequential


def backpack_outer_product(net: Mlp, X: Array, T: Array) -> Run:
    """BackPACK's exact square root V of the Gauss-Newton matrix, then V Vᵀ."""
    torch, backpack = need("torch"), need("backpack")
    extensions = need("backpack.extensions")
    model = backpack.extend(sequential(net))
    error = backpack.extend(torch.nn.MSELoss(reduction="sum"))
    Xt, Tt = torch.tensor(X), torch.tensor(T)

    def gram() -> Any:
        with backpack.backpack(extensions.SqrtGGNExact()):
            error(model(Xt), Tt).backward()
        V = torch.cat([p.sqrt_ggn_exact.flatten(2) for p in model.parameters()], dim=2).reshape(-1, net.n_parameters)
        for p in model.parameters():
            p.grad = None
        return V.T @ V

    return Run(gram, lambda H: H.detach().numpy() / 2)


def curvlinops_outer_product(net: Mlp, X: Array, T: Array) -> Run:
    """The Gauss-Newton operator of curvlinops times the identity."""
    torch, curvlinops = need("torch"), need("curvlinops")
    model = sequential(net)
    operator = curvlinops.GGNLinearOperator(
        model,
        torch.nn.MSELoss(reduction="sum"),
        list(model.parameters()),
        [(torch.tensor(X), torch.tensor(T))],
        check_deterministic=False,
    )
    identity = torch.eye(net.n_parameters, dtype=torch.float64)
    return Run(lambda: operator @ identity, lambda H: H.detach().numpy() / 2)


def curvlinops_hessian(net: Mlp, X: Array, T: Array) -> Run:
    """The exact Hessian operator of curvlinops times the identity."""
    torch, curvlinops = need("torch"), need("curvlinops")
    model = sequential(net)
    operator = curvlinops.HessianLinearOperator(
        model,
        torch.nn.MSELoss(reduction="sum"),
        list(model.parameters()),
        [(torch.tensor(X), torch.tensor(T))],
        check_deterministic=False,
    )
    identity = torch.eye(net.n_parameters, dtype=torch.float64)
    return Run(lambda: operator @ identity, lambda H: H.detach().numpy() / 2)
