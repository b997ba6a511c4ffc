"""OpenVINO GenAI as a peer of `bench_peers.py`; see `peer.py`.

`optimum-intel` exports the checkpoint with float16 weights, and the plugin computes in bf16: it
has no faster way at 16 bits. Prefixes are not cached: one prompt would else be read only once.
Times are the pipeline's own.
"""

import importlib.metadata
import shutil
from pathlib import Path

import numpy as np
import openvino
import openvino_genai
from peer import Engine, Generation, Peer, Wanted, main

MODEL = "openvino_model.xml"


class OpenVino:
    """The exported model, as a pipeline to time and as a graph to verify."""

    def __init__(self, wanted: Wanted) -> None:
        """The variant names the backend of attention."""
        self._folder = wanted.prepared
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": wanted.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._attention = wanted.variant
        self._context_tokens = wanted.context_tokens
        self._pipeline: openvino_genai.LLMPipeline | None = None

    def generate(self, prompt: list[int], output_tokens: int) -> Generation:
        """Greedy, through the pipeline."""
        asked = openvino_genai.GenerationConfig()
        asked.max_new_tokens = asked.min_new_tokens = output_tokens
        asked.do_sample = False
        asked.ignore_eos = True
        ids = openvino.Tensor(np.array([prompt], np.int64))
        if self._pipeline is None:
            self._pipeline = self._open_pipeline()
        done = self._pipeline.generate(ids, asked)
        tokens = list(done.tokens[0])
        return Generation(
            token_ids=tokens,
            first_s=done.perf_metrics.get_ttft().mean / 1e3,  # said in milliseconds
            rest_s=done.perf_metrics.get_tpot().mean / 1e3 * (len(tokens) - 1),
        )

    def _open_pipeline(self) -> openvino_genai.LLMPipeline:
        if self._attention == "sdpa":
            return openvino_genai.LLMPipeline(
                str(self._folder), "CPU", {**self._settings, "ATTENTION_BACKEND": "SDPA"}
            )
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False
        scheduler.max_num_batched_tokens = self._context_tokens
        return openvino_genai.LLMPipeline(
            str(self._folder), "CPU", scheduler_config=scheduler, **self._settings
        )

    def logits(self, prompt: list[int], rows: int) -> np.ndarray:
        """All positions in one pass of the graph that the pipeline runs."""
        ids = np.array([prompt], np.int64)
        compiled = openvino.Core().compile_model(str(self._folder / MODEL), "CPU", self._settings)
        inputs = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "position_ids": np.arange(ids.size, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        names = {name for port in compiled.inputs for name in port.names}
        result = compiled({name: value for name, value in inputs.items() if name in names})
        return result["logits"][0, -rows:]


def versions() -> dict[str, str]:
    """Of the runtime, the pipeline and the exporter."""
    names = ("openvino", "openvino-genai", "optimum-intel")
    return {name: importlib.metadata.version(name) for name in names}


def prepare(model: Path, folder: Path, _variant: str) -> Path:
    """Export with float16 weights, tokenizer included."""
    out = folder / "openvino"
    if out.exists():
        return out
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    unfinished = folder / "openvino.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    main_export(
        str(model),
        unfinished,
        task="text-generation-with-past",
        ov_config=OVConfig(dtype="fp16"),
        local_files_only=True,
    )
    return unfinished.rename(out)


def load(wanted: Wanted) -> Engine:
    """The exported model."""
    return OpenVino(wanted)


if __name__ == "__main__":
    variants = ("paged", "sdpa")
    main(Peer(variants=variants, versions=versions, prepare=prepare, load=load))
