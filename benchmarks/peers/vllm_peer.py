"""vLLM's CPU build as a peer of `bench_peers.py`; see `peer.py`.

One process, bf16, prefixes not cached, its allocator and OpenMP library preloaded as its manual
advises. Times are the engine's own statistics.
"""

import ctypes.util
import importlib.metadata
import os
import sys
from pathlib import Path

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: no hand-over per token
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


def restart_with_preloads() -> None:
    """A library must be preloaded before the process starts: run it again, once."""
    if "LD_PRELOAD" in os.environ:
        return
    openmp = Path(sys.prefix) / "lib/libiomp5.so"
    allocator = ctypes.util.find_library("tcmalloc_minimal")
    preloads = [str(openmp)] if openmp.exists() else []
    preloads += [allocator] if allocator else []
    if not preloads:
        return
    environment = {**os.environ, **SETTINGS, "LD_PRELOAD": ":".join(preloads)}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


restart_with_preloads()

import numpy as np
import torch
from peer import Engine, Generation, Peer, Wanted, main
from vllm import LLM, SamplingParams


class Vllm:
    """One engine in this process."""

    def __init__(self, wanted: Wanted) -> None:
        """The checkpoint folder as it is."""
        torch.set_num_threads(wanted.threads)
        self._llm = LLM(
            model=str(wanted.prepared),
            dtype="bfloat16",
            max_model_len=max(2_048, wanted.context_tokens),  # the same compiled code for most
            max_num_seqs=1,
            max_logprobs=-1,
            enable_prefix_caching=False,
            disable_log_stats=False,
        )

    def generate(self, prompt: list[int], output_tokens: int) -> Generation:
        """Greedy, from an empty cache."""
        params = SamplingParams(temperature=0, max_tokens=output_tokens, ignore_eos=True)
        done = self._run(prompt, params)
        times = done.metrics
        return Generation(
            token_ids=list(done.outputs[0].token_ids),
            first_s=times.first_token_ts - times.scheduled_ts,
            rest_s=times.last_token_ts - times.first_token_ts,
        )

    def logits(self, prompt: list[int], rows: int) -> np.ndarray:
        """Log probabilities, which differ from the logits by a number per row."""
        params = SamplingParams(temperature=0, max_tokens=1, logprobs=-1, detokenize=False)
        found = []
        for end in range(len(prompt) - rows + 1, len(prompt) + 1):
            row = self._run(prompt[:end], params).outputs[0].logprobs[0]
            found.append([row[token].logprob for token in range(len(row))])
        return np.array(found)

    def _run(self, prompt: list[int], params: SamplingParams):
        asked = {"prompt_token_ids": prompt}
        return self._llm.generate(asked, params, use_tqdm=False)[0]


def versions() -> dict[str, str]:
    """Of the engine and of torch, and what was preloaded, without folders."""
    preloaded = os.environ.get("LD_PRELOAD", "").split(":")
    return {
        "vllm-cpu": importlib.metadata.version("vllm-cpu"),
        "torch": torch.__version__,
        "preloaded": ":".join(Path(library).name for library in preloaded),
    }


def prepare(model: Path, _folder: Path, _variant: str) -> Path:
    """It reads the checkpoint itself."""
    return model


def load(wanted: Wanted) -> Engine:
    """An engine of its own."""
    return Vllm(wanted)


if __name__ == "__main__":
    main(Peer(variants=("bfloat16",), versions=versions, prepare=prepare, load=load))
