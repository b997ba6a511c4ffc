"""What a step reads and leaves on the device beside weights and cache."""
# pyright: basic, reportMissingImports=false

import torch

from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.cuda import products
from headrace.model.program import Program

ROWS = products.ROWS.value


class State:
    """What a step reads and leaves on the device, [ROWS] each unless said otherwise.

    All that the host sets lies in one piece, `words`, and is copied there at once.
    """

    _FIELDS = ("tokens", "positions", "first_rows", "sequences", "steps_done", "temperature")

    def __init__(self, program: Program, device: str, steps: int) -> None:
        count = len(self._FIELDS) * ROWS
        self.words = torch.zeros(count + 2 * ROWS, dtype=torch.int32, device=device)
        self.tokens, self.positions, self.first_rows, self.sequences, self.steps_done, warmth = (
            self.words[i * ROWS : (i + 1) * ROWS] for i in range(len(self._FIELDS))
        )
        self.temperature = warmth.view(torch.float32)
        self.seed = self.words[count:].view(torch.int64)
        width = -(-program.max_positions // BLOCK_TOKENS)
        self.tables = torch.zeros((ROWS, width), dtype=torch.int32, device=device)
        self.drawn = torch.zeros((steps, ROWS), dtype=torch.int32, device=device)
        self.logits = torch.zeros((ROWS, program.vocab_size), dtype=torch.float32, device=device)
