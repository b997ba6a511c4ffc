"""Two optimizers: orthogonalised momentum (Muon) for matrices, AdamW for embedding and norms."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

NEWTON = (3.4445, -4.7750, 2.0315)  # coefficients of the odd polynomial that flattens the spectrum


def orthogonal(stack: Tensor, rounds: int = 5) -> Tensor:
    """Nearly the closest orthogonal matrices to a stack [N, rows, columns], rows <= columns."""
    a, b, c = NEWTON
    x = (stack / (stack.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.to(stack.dtype)


class Optimizer:
    """One step for the whole network; learning rates are scaled by the schedule's factor."""

    def __init__(self, network: nn.Module, matrix_rate: float, table_rate: float) -> None:
        self.matrix_rate, self.momentum, self.decay = matrix_rate, 0.95, 0.02
        self.groups: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        others: list[nn.Parameter] = []
        for name, weight in network.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                rows, columns = weight.shape
                self.groups[min(rows, columns), max(rows, columns)].append(weight)
            else:
                others.append(weight)
        self.table_rate = table_rate
        self.adam = torch.optim.AdamW(others, lr=table_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.trace = {w: torch.zeros_like(w) for weights in self.groups.values() for w in weights}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Apply the gradients at `factor` times the base rates, and clear them."""
        for (low, _), weights in self.groups.items():
            moves = []
            for weight in weights:
                assert weight.grad is not None
                trace = self.trace[weight]
                trace.lerp_(weight.grad, 1 - self.momentum)
                move = weight.grad.lerp(trace, self.momentum)
                moves.append(move if move.shape[0] == low else move.T)
            flat = orthogonal(torch.stack(moves))
            rate = self.matrix_rate * factor
            for weight, move in zip(weights, flat, strict=True):
                scale = (weight.shape[0] / weight.shape[1]) ** 0.5
                weight.mul_(1 - rate * self.decay)
                weight.add_(move if weight.shape[0] == low else move.T, alpha=-rate * max(1, scale))
                weight.grad = None
        for group in self.adam.param_groups:
            group["lr"] = self.table_rate * factor
        self.adam.step()
        self.adam.zero_grad()

    def state(self) -> dict[str, object]:
        """What a resumed run needs."""
        return {"trace": list(self.trace.values()), "adam": self.adam.state_dict()}

    def load(self, state: dict) -> None:
        """Take up a saved state."""
        for mine, saved in zip(self.trace.values(), state["trace"], strict=True):
            mine.copy_(saved)
        self.adam.load_state_dict(state["adam"])
