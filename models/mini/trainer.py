"""Training within a budget of minutes: warm up, hold, then let the rate fall to zero."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from .batches import Batch
from .network import Network
from .optimizer import Optimizer

WARM = 0.01  # share of the budget spent warming up
HOLD = 0.45  # share after which the rate falls


@dataclass(slots=True)
class Progress:
    """What a run has spent so far."""

    seconds: float = 0.0
    steps: int = 0
    tokens: int = 0  # positions read, padding included
    answers: int = 0  # positions learned from


def factor(share: float) -> float:
    """The learning rate's factor after a share of the budget, 0 to 1."""
    if share < WARM:
        return max(share / WARM, 0.02)
    if share < HOLD:
        return 1.0
    return max(0.0, (1.0 - share) / (1.0 - HOLD))


class Trainer:
    """Fits a network to a stream of batches; a killed run goes on from its last checkpoint."""

    def __init__(self, network: Network, device: str, checkpoint: Path) -> None:
        self.network = network.to(device)
        self.device = device
        self.checkpoint = checkpoint
        self.optimizer = Optimizer(self.network, matrix_rate=0.02, table_rate=4e-3)
        self.progress = Progress()
        self.console = Console(stderr=True)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross entropy, in nats, over the answers' tokens."""
        tokens = torch.from_numpy(batch.tokens).to(self.device)
        mask = torch.from_numpy(batch.mask()).to(self.device)
        wanted = torch.from_numpy(batch.wanted).to(self.device)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            logits = self.network(tokens[:, :-1], mask, wanted)
        return functional.cross_entropy(logits.float(), tokens[:, 1:][wanted])

    def run(self, batches: Iterator[Batch], minutes: float, save_every: float = 120.0) -> float:
        """Train until the budget is spent; returns the smoothed loss."""
        budget = minutes * 60
        spent = self.progress
        smooth, saved, shown = math.nan, spent.seconds, 0.0
        mark = time.monotonic()
        while spent.seconds < budget:
            batch = next(batches)
            loss = self.loss(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step(factor(spent.seconds / budget))
            value = float(loss.detach())
            smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
            now = time.monotonic()
            spent.seconds += now - mark
            mark = now
            spent.steps += 1
            spent.tokens += batch.owners.size
            spent.answers += int(batch.wanted.sum())
            if spent.seconds - shown > 10:
                shown = spent.seconds
                self.console.print(
                    f"{spent.seconds / 60:5.1f} of {minutes:g} min  step {spent.steps:5d}  "
                    f"loss {smooth:.4f}  {spent.tokens / spent.seconds:,.0f} tok/s  "
                    f"{spent.tokens / 1e6:.2f} M tokens, {spent.answers / 1e6:.2f} M answers",
                    soft_wrap=True,
                )
            if spent.seconds - saved > save_every:
                saved = spent.seconds
                self.save()
        self.save()
        return smooth

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        spent = self.progress
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state(),
            "progress": [spent.seconds, spent.steps, spent.tokens, spent.answers],
        }
        fresh = self.checkpoint.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint where there is one."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load(state["optimizer"])
        self.progress = Progress(*state["progress"])
        return True
