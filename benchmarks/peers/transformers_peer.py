"""Hugging Face transformers as a peer of `bench_peers.py`; see `peer.py`.

Eager, bf16. Timing counts the forward pass alone: choosing the token is left out, in its favour.
"""

import time
from pathlib import Path

import numpy as np
import torch
import transformers
from peer import Engine, Generation, Peer, Wanted, main


class Transformers:
    """One loaded model."""

    def __init__(self, wanted: Wanted) -> None:
        """The checkpoint folder as it is."""
        torch.set_num_threads(wanted.threads)
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            wanted.prepared, dtype=getattr(torch, wanted.variant), local_files_only=True
        ).eval()

    @torch.inference_mode()
    def generate(self, prompt: list[int], output_tokens: int) -> Generation:
        """Greedy, from an empty cache."""
        cache = transformers.DynamicCache(config=self._model.config)
        tokens: list[int] = []
        took_s: list[float] = []
        fed = prompt
        while len(tokens) < output_tokens:
            ids = torch.tensor([fed])
            start = time.perf_counter()
            out = self._model(
                input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            took_s.append(time.perf_counter() - start)
            fed = [int(out.logits[0, -1].argmax())]
            tokens += fed
        return Generation(token_ids=tokens, first_s=took_s[0], rest_s=sum(took_s[1:]))

    @torch.inference_mode()
    def logits(self, prompt: list[int], rows: int) -> np.ndarray:
        """All positions in one pass."""
        out = self._model(input_ids=torch.tensor([prompt]), logits_to_keep=rows)
        return out.logits[0].float().numpy()


def versions() -> dict[str, str]:
    """Of the two libraries."""
    return {"transformers": transformers.__version__, "torch": torch.__version__}


def prepare(model: Path, _folder: Path, _variant: str) -> Path:
    """It reads the checkpoint itself."""
    return model


def load(wanted: Wanted) -> Engine:
    """The model, eager."""
    return Transformers(wanted)


if __name__ == "__main__":
    main(
        Peer(
            variants=("bfloat16",),
            versions=versions,
            prepare=prepare,
            load=load,
            exact="float32",
        )
    )
