"""How fast the cuda backend decodes on this card, and which share of its memory's speed that is.

    python benchmarks/bench_gpu.py [--models 1b 8b] [--contexts 128 1024] [--tune] [--peers] \
        [--persistent] [--out gpu.json]

Needs an NVIDIA GPU with PyTorch and Triton; nothing is downloaded: weights of the true shape are
drawn on the card (normal, standard deviation 0.02). First the kernels are held to the reference on
small programs, on this card; a failure ends the run. Then, in the same process: what a read-only
stream reaches, every phase by itself, whole steps by context and rows, what programmatic dependent
launch brings, and the peers. One table at the end; all figures as JSON with `--out`.

A step's time is the slope between calls of 64 and of 128 steps, so what a call costs is not in it;
that is told apart (`call`). Median of `--repeats`, interleaved with nothing: one stream, greedy.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.backends.cuda.backend import CudaBackend
from headrace.backends.cuda.launch import Call, Launch
from headrace.backends.cuda.launches import Tilings
from headrace.backends.cuda.mixture import ExpertTilings
from headrace.backends.cuda.tiling import ExpertTiling, Tiling, expert_tiling, tiling
from headrace.backends.reference import ReferenceBackend
from headrace.model.precision import round_to_bf16
from headrace.model.program import Experts, Program, Weight, op_weights
from headrace.model.registry import build_program

DATASHEET = {"NVIDIA H200": 4.8e12, "NVIDIA H100 80GB HBM3": 3.35e12}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "max_position_embeddings": 131_072,
    "vocab_size": 128_256,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": False,
}
MODELS: dict[str, dict[str, object]] = {
    "1b": {
        "hidden_size": 2_048,
        "intermediate_size": 8_192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "8b": {
        "hidden_size": 4_096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "70b": {
        "hidden_size": 8_192,
        "intermediate_size": 28_672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
    },
}
GPT_OSS = {
    "architectures": ["GptOssForCausalLM"],
    "hidden_size": 2_880,
    "intermediate_size": 2_880,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 201_088,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "max_position_embeddings": 131_072,
    "tie_word_embeddings": False,
    "quantization_config": {"quant_method": "mxfp4"},
}
CONFIGS: dict[str, dict[str, object]] = {
    **{name: {**LLAMA, **sizes} for name, sizes in MODELS.items()},
    "gpt-oss-20b": {**GPT_OSS, "num_hidden_layers": 24, "num_local_experts": 32},
    "gpt-oss-120b": {**GPT_OSS, "num_hidden_layers": 36, "num_local_experts": 128},
}
TINY_OSS = {
    **GPT_OSS,
    "hidden_size": 224,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 499,
    "num_local_experts": 12,
    "sliding_window": 40,
    "max_position_embeddings": 4_096,
}
TINY = {
    **LLAMA,
    "vocab_size": 499,
    "hidden_size": 144,
    "intermediate_size": 208,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4_096,
}
# Wide enough for the kernel that stays (`persistent`): whole pieces of 1,024 inputs.
WIDE = {
    **TINY,
    "hidden_size": 1_024,
    "intermediate_size": 3_072,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
}
STEPS = 64


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One whole step, measured."""

    model: str
    context_tokens: int
    rows: int
    step_us: float
    call_us: float  # what a call costs beside its steps
    tok_s: float
    bytes_per_step: int
    stream_share: float  # of the read-only stream of this run
    datasheet_share: float | None


@triton.jit
def read_all(data, out, size, TILE: tl.constexpr):
    """Read `size` numbers and do as good as nothing with them."""
    total = tl.zeros([TILE], tl.int32)
    first = tl.program_id(0) * TILE
    for start in tl.range(first, size, tl.num_programs(0) * TILE, num_stages=4):
        total ^= tl.load(data + start + tl.arange(0, TILE), eviction_policy="evict_first")
    tl.store(out + tl.program_id(0), tl.sum(total, axis=0))


def seconds_of(work: Callable[[], None], repeats: int = 5, times: int = 3) -> float:
    """Median seconds of `work` on the device, by events, after one run to warm up."""
    work()
    found: list[float] = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(times):
            work()
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end) / times / 1e3)
    return statistics.median(found)


def read_stream() -> float:
    """Bytes per second of the best read-only stream over 4 GiB."""
    data = torch.randint(0, 1 << 30, (1 << 30,), dtype=torch.int32, device="cuda")
    out = torch.empty(4_096, dtype=torch.int32, device="cuda")
    size = data.numel() - 1  # not a literal one of the compiler's special cases
    best = 0.0
    for programs, tile, warps in ((264, 8192, 8), (528, 8192, 8), (528, 4096, 4), (1056, 4096, 4)):
        took = seconds_of(lambda p=programs, t=tile, w=warps: _read(data, out, size, p, t, w))
        best = max(best, data.nbytes / took)
    return best


def _read(data: torch.Tensor, out: torch.Tensor, size: int, programs: int, tile: int, warps: int):
    read_all[(programs,)](data, out, size // tile * tile, TILE=tile, num_warps=warps)


def copy_stream() -> float:
    """Bytes read and written per second of a device copy."""
    data = torch.randint(0, 1 << 30, (1 << 30,), dtype=torch.int32, device="cuda")
    other = torch.empty_like(data)
    return 2 * data.nbytes / seconds_of(lambda: other.copy_(data))


def drawn_on_card(weight: Weight, place: torch.Tensor) -> None:
    """Fills a tensor as the docstring says: matrices normal, norms one, other vectors small."""
    if weight.holds == "codes":
        place.random_(0, 256)
    elif weight.holds == "scales":
        place.random_(119, 121)  # 2^-8 or 2^-7: with any code a standard deviation of 0.018
    elif len(weight.shape) == 1 and weight.name.endswith(("bias", "sinks")):
        place.normal_(0, 0.02)
    elif len(weight.shape) == 1:
        place.fill_(1.0)
    elif place.device.type == "cpu":
        place.copy_(torch.empty(place.shape, dtype=place.dtype, device="cuda").normal_(0, 0.02))
    else:
        place.normal_(0, 0.02)


def batch_at(context_tokens: int, rows: int, steps: int) -> Batch:
    """`rows` sequences, each at `context_tokens`, that decode for `steps`."""
    blocks = -(-(context_tokens + steps + 1) // BLOCK_TOKENS)
    tables = np.arange(rows * blocks, dtype=np.int32).reshape(rows, blocks)
    return Batch(
        token_ids=np.arange(7, 7 + rows, dtype=np.int32),
        positions=np.full(rows, context_tokens, np.int32),
        row_sequence=np.arange(rows, dtype=np.int32),
        block_tables=tables,
        sample_rows=np.arange(rows, dtype=np.int32),
        sampling=Sampling.greedy(rows),
        steps=steps,
    )


def call_seconds(backend: CudaBackend, batch: Batch, repeats: int) -> float:
    """Median wall seconds of one call."""
    backend.step(batch)
    found: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        backend.step(batch)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def step_seconds(
    backend: CudaBackend, context: int, rows: int, repeats: int
) -> tuple[float, float]:
    """Seconds of a step, and of a call beside its steps."""
    short = call_seconds(backend, batch_at(context, rows, STEPS), repeats)
    long = call_seconds(backend, batch_at(context, rows, 2 * STEPS), repeats)
    return (long - short) / STEPS, 2 * short - long


def report_calls(backend: CudaBackend, name: str, context: int) -> None:
    """Print what calls of one step take: the same again and again, and one after the other."""
    single = call_seconds(backend, batch_at(context, 1, 1), 20)
    batch, found = batch_at(context, 1, 1), list[float]()
    began = time.perf_counter()
    for _ in range(64):
        tokens = backend.step(batch).token_ids
        found.append(time.perf_counter() - began)
        began += found[-1]
        batch = replace(batch, token_ids=tokens, positions=batch.positions + np.int32(1))
        batch = replace(batch, block_tables=np.arange(64, dtype=np.int32)[None, :])
    graph = backend.graph(1, context)
    torch.cuda.synchronize()
    starts: list[float] = []
    for _ in range(20):
        began = time.perf_counter()
        graph.replay()
        starts.append(time.perf_counter() - began)
        torch.cuda.synchronize()
    print(
        f"  {name} a call of one step: {single * 1e6:.0f} us repeated, "
        f"{statistics.mean(found[1:]) * 1e6:.0f} us mean and {statistics.median(found) * 1e6:.0f} "
        f"us median one after the other; a replay takes the host "
        f"{statistics.median(starts) * 1e6:.0f} us",
        flush=True,
    )


def phase_seconds(launches: list[Launch | Call], *, pdl: bool) -> dict[str, tuple[float, int, int]]:
    """Of each phase alone, all its launches one after the other: seconds, bytes, launches."""
    names = dict.fromkeys(launch.phase for launch in launches)
    found: dict[str, tuple[float, int, int]] = {}
    for name in names:
        own = [launch for launch in launches if launch.phase == name]
        took = seconds_of(_recorded(own, pdl=pdl).replay)
        found[name] = took, sum(launch.read_bytes for launch in own), len(own)
    return found


def _recorded(launches: list[Launch | Call], *, pdl: bool) -> torch.cuda.CUDAGraph:
    for launch in launches:
        launch.run(pdl=pdl)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for launch in launches:
            launch.run(pdl=pdl)
    return graph


def candidates(outputs: int, inputs: int, matrices: int) -> list[Tiling]:
    """Tilings worth trying for such a product, the likeliest first."""
    shapes = [(16, 2, 128), (16, 4, 128), (16, 4, 64), (32, 2, 128)]
    if matrices * outputs * inputs > 1 << 28:
        shapes = [(32, 2, 128), (16, 2, 128)]  # a head
    found: list[tuple[int, Tiling]] = []
    for i, (rows, parts, step) in enumerate(shapes):
        for deep in (3, 4):
            held = (deep - 1) * parts * step * 2 * (matrices * rows + 8)
            whole = -(-inputs // (parts * step)) * parts * step
            if whole > 1.07 * inputs or not 20_000 <= held <= 110_000:
                continue
            for ahead in (0, 1):
                cut = Tiling(outputs=rows, parts=parts, inputs=step, stages=deep, ahead=ahead)
                found.append((i + 2 * ahead, cut))
    return [cut for _, cut in sorted(found, key=lambda pair: pair[0])]


def _shape(cut: Tiling) -> tuple[int, int, int]:
    return cut.outputs, cut.parts, cut.inputs


def expert_candidates(slots: int) -> list[ExpertTiling]:
    """Tilings worth trying for a kernel of experts."""
    found = [(16, 2, 2, 4), (16, 2, 4, 4), (16, 1, 4, 4), (16, 4, 2, 4), (32, 2, 2, 4)]
    if slots == 1:
        found = [(64, 4, 2, 4), (32, 4, 2, 6), (16, 4, 4, 4), (16, 4, 2, 8), (16, 4, 1, 8)]
        found += [(16, 8, 2, 4), (32, 2, 4, 4)]
    return [ExpertTiling(outputs=n, parts=p, runs=r, stages=s) for n, p, r, s in found]


def tune_experts(model: str, program: Program, seconds: float, tilings: Tilings) -> ExpertTilings:
    """Cut the experts' kernels by what makes the whole step fastest, while time allows."""
    chosen: dict[tuple[int, int, int], ExpertTiling] = {}

    def choose(outputs: int, inputs: int, slots: int) -> ExpertTiling:
        key = outputs, inputs, slots
        return chosen.setdefault(key, expert_tiling(outputs, inputs, slots))

    backend = load(program, blocks=256, tilings=tilings)
    backend.forget(expert_tilings=choose)
    best, ends = whole_step(backend), time.monotonic() + seconds
    print(f"{model}: {best * 1e6:.0f} us before", flush=True)
    for key in list(chosen):
        for cut in expert_candidates(key[2]):
            if time.monotonic() > ends:
                break
            before, chosen[key] = chosen[key], cut
            took = whole_step(backend)
            better = took < best * 0.999
            best, chosen[key] = (took, cut) if better else (best, before)
            print(f"{model}: {took * 1e6:.0f} us {key} {cut} {'*' if better else ''}", flush=True)
    backend.close()
    return choose


def tune(model: str, program: Program, seconds: float) -> Tilings:
    """Cut one product after the other by what makes the whole step fastest, while time allows.

    In the whole step a kernel meets its neighbours, whose memory and whose prefetches it shares.
    """
    chosen: dict[tuple[int, int, int], Tiling] = {}

    def choose(outputs: int, inputs: int, matrices: int) -> Tiling:
        key = outputs, inputs, matrices
        return chosen.setdefault(key, tiling(outputs, inputs, matrices))

    backend = load(program, blocks=256, tilings=choose)
    best = whole_step(backend)
    print(f"{model}: {best * 1e6:.0f} us before", flush=True)
    ends, tried = time.monotonic() + seconds, 0
    ways = {key: candidates(*key) for key in chosen}
    rounds = [
        (key, ways[key][i])
        for i in range(max(map(len, ways.values())))
        for key in ways
        if i < len(ways[key])
    ]
    for key, cut in rounds:
        if time.monotonic() > ends:
            break
        before, chosen[key] = chosen[key], cut
        took = whole_step(backend)
        tried += 1
        better = took < best * 0.999
        if better:
            best = took
        else:
            chosen[key] = before
        deep = f"{_shape(cut)} stages {cut.stages} ahead {cut.ahead}"
        print(f"{model}: {took * 1e6:.0f} us {key} {deep} {'*' if better else ''}", flush=True)
    backend.close()
    print(f"{model}: {best * 1e6:.0f} us after {tried} of {len(rounds)}", flush=True)
    for key, cut in chosen.items():
        print(f"    {key}: {cut}", flush=True)
    return choose


def whole_step(backend: CudaBackend, context: int = 128) -> float:
    """Seconds of one recorded step at `context`, newly planned."""
    backend.forget()
    backend.step(batch_at(context, 1, 1))
    graph = backend.graph(1, context)
    return seconds_of(graph.replay, repeats=3, times=8)


def load(
    program: Program, *, blocks: int, tilings: Tilings = tiling, is_persistent: bool = False
) -> CudaBackend:
    """The program with weights drawn on the card."""
    return CudaBackend(
        program,
        None,
        num_blocks=blocks,
        fill=drawn_on_card,
        tilings=tilings,
        is_persistent=is_persistent,
    )


def _free() -> None:
    import gc

    gc.collect()
    torch.cuda.empty_cache()


def _tiny_weights(program: Program) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for name, w in program.weights().items():
        if w.holds == "codes":
            found[name] = rng.integers(256, size=w.shape, dtype=np.uint8)
        elif w.holds == "scales":
            found[name] = rng.integers(120, 125, size=w.shape, dtype=np.uint8)
        elif len(w.shape) == 1:
            found[name] = round_to_bf16((1 + 0.2 * rng.standard_normal(w.shape)).astype(np.float32))
        else:
            gain = 4 if name.endswith("router.weight") else 1
            drawn = gain * rng.standard_normal(w.shape) / np.sqrt(w.shape[-1])
            found[name] = round_to_bf16(drawn.astype(np.float32))
    return found


def check(config: dict[str, object], *, is_persistent: bool = False) -> dict[str, float]:
    """Hold the kernels to the reference on this card; raises AssertionError where they differ."""
    program = build_program(config)
    weights = _tiny_weights(program)
    rng = np.random.default_rng(0)
    judge = ReferenceBackend(program, weights, num_blocks=64)
    ours = CudaBackend(program, weights, num_blocks=64, is_persistent=is_persistent)
    prompt = rng.integers(0, program.vocab_size, 150).tolist()
    table = rng.permutation(64)[None, :].astype(np.int32)
    errors: list[float] = []
    for first in range(0, 150, 15):  # few rows at a time: the fused kernels
        batch = _rows(table, first, prompt[first : first + 15])
        wanted, found = judge.step(batch), ours.step(batch)
        rms = np.sqrt((wanted.logits**2).mean())
        errors += (np.abs(wanted.logits - found.logits).max(axis=-1) / rms).tolist()
    token, tokens = int(wanted.token_ids[-1]), 0
    for position in range(150, 150 + 96):
        batch = _rows(table, position, [token])
        token = int(judge.step(batch).token_ids[0])
        tokens += int(ours.step(batch).token_ids[0]) == token
    alone = ours.step(_rows(table, 200, [5])).logits
    differing: list[int] = []
    for count in (2, 3, 8, 9, 16):
        tables = np.vstack([table, *(table,) * (count - 1)])
        rows = np.arange(count, dtype=np.int32)
        batch = Batch(
            token_ids=np.full(count, 5, np.int32),
            positions=np.full(count, 200, np.int32),
            row_sequence=rows,
            block_tables=tables,
            sample_rows=rows,
            sampling=Sampling.greedy(count),
            want_logits=True,
        )
        several = ours.step(batch).logits
        if not all(np.array_equal(alone[0], row) for row in several):
            differing.append(count)
    batch = _rows(table, 200, [5])
    many = Batch(
        **{
            **{f: getattr(batch, f) for f in Batch.__dataclass_fields__},
            "steps": 40,
            "want_logits": False,
        }
    )
    first, second = ours.step(many).token_ids, ours.step(many).token_ids
    assert np.array_equal(first, second), "two runs differ: a race"
    ours.close()
    assert not differing, f"bits differ from one row's among {differing} rows"
    # Where float32 sums in another order tip a router, the row is another one.
    has_experts = any(isinstance(op, Experts) for op in program.ops)
    worst = float(np.quantile(errors, 0.9)) if has_experts else max(errors)
    assert worst < 0.02, f"logits differ by {worst}"
    assert tokens >= (88 if has_experts else 96), f"only {tokens} of 96 greedy tokens agree"
    return {
        "worst_logit_error_over_rms": max(errors),
        "ninth_of_ten_errors": float(np.quantile(errors, 0.9)),
        "greedy_tokens_agreeing_of_96": tokens,
    }


def _rows(table: np.ndarray, first: int, tokens: list[int]) -> Batch:
    count = len(tokens)
    return Batch(
        token_ids=np.array(tokens, np.int32),
        positions=np.arange(first, first + count, dtype=np.int32),
        row_sequence=np.zeros(count, np.int32),
        block_tables=table,
        sample_rows=np.arange(count, dtype=np.int32),
        sampling=Sampling.greedy(count),
        want_logits=True,
    )


def cases_of(args: argparse.Namespace, name: str) -> list[tuple[int, int]]:
    """Contexts and rows to measure a model at; what 70B's weights leave holds few tokens."""
    if name == "70b":
        return [(context, 1) for context in args.contexts if context <= 8_192]
    cases = [(context, 1) for context in args.contexts]
    return cases + [(args.contexts[0], rows) for rows in args.rows if rows > 1]


def bytes_per_step(program: Program, context: int, rows: int) -> int:
    """What a step must read: of experts those that so many rows choose, if they choose evenly."""
    size = program.bytes_per_token()
    size += rows * (program.bytes_per_token(context) - size)
    for op in program.ops:
        if isinstance(op, Experts):
            own, count = sum(w.stored_bytes for w in op_weights(op)), len(op.gate)
            size += int(own * (1 - (1 - op.top / count) ** rows)) - own * op.top // count
    return size


def measure(
    args: argparse.Namespace,
    name: str,
    stream: float,
    tilings: Tilings,
    expert_tilings: ExpertTilings,
) -> list[Speed]:
    """Whole steps and phases of one model."""
    program = build_program(CONFIGS[name])
    most = max(rows * (context + 3 * STEPS) for context, rows in cases_of(args, name))
    blocks = most // BLOCK_TOKENS + 16
    began = time.monotonic()
    backend = load(program, blocks=blocks, tilings=tilings, is_persistent=args.persistent)
    backend.forget(expert_tilings=expert_tilings)
    print(f"{name}: loaded in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    speeds: list[Speed] = []
    datasheet = DATASHEET.get(torch.cuda.get_device_name())
    for context, rows in cases_of(args, name):
        step, call = step_seconds(backend, context, rows, args.repeats)
        size = bytes_per_step(program, context, rows)
        speed = Speed(
            model=name,
            context_tokens=context,
            rows=rows,
            step_us=step * 1e6,
            call_us=call * 1e6,
            tok_s=1 / step,
            bytes_per_step=size,
            stream_share=size / step / stream,
            datasheet_share=size / step / datasheet if datasheet else None,
        )
        speeds.append(speed)
        print(f"  {speed}", flush=True)
    report_calls(backend, name, args.contexts[0])
    for pdl in (True, False):
        backend.step(batch_at(args.contexts[0], 1, 1))
        launches = backend.launches(1, args.contexts[0])
        total = 0.0
        for phase, (took, size, count) in phase_seconds(launches, pdl=pdl).items():
            total += took
            speed_gb = size / took / 1e9
            print(
                f"  {name} pdl={pdl} {phase:14} x{count:<3} {took * 1e6:8.1f} us "
                f"{took / count * 1e6:7.2f} each {speed_gb:7.0f} GB/s",
                flush=True,
            )
        whole = seconds_of(_recorded(launches, pdl=pdl).replay)
        print(f"  {name} pdl={pdl} sum {total * 1e6:.0f} us, recorded step {whole * 1e6:.0f} us")
    silent = [x for x in backend.launches(1, args.contexts[0]) if x.phase != "attention"]
    took = seconds_of(_recorded(silent, pdl=True).replay)
    print(f"  {name} without attention: step {took * 1e6:.0f} us", flush=True)
    backend.close()
    del backend
    _free()
    return speeds


def peer(name: str, model: str, seconds: float) -> dict[str, Any]:
    """What a peer reports, in a process of its own that ends after `seconds`."""
    script = Path(__file__).parent / "peers" / "gpu_peers.py"
    config = json.dumps(CONFIGS[model])
    command = [sys.executable, str(script), name, config, "2", "6"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, seconds))
    except subprocess.TimeoutExpired:
        return {"peer": name, "model": model, "error": f"not done in {seconds:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"peer": name, "model": model, "error": done.stderr.strip()[-400:]}
    return {"model": model, **json.loads(lines[-1])}


def write(out: Path | None, report: dict[str, Any]) -> None:
    """All figures so far."""
    if out:
        out.write_text(json.dumps(report, indent=1))


def main() -> None:
    """Run what was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=["1b", "8b"], choices=list(CONFIGS))
    parser.add_argument("--contexts", nargs="*", type=int, default=[128, 1_024])
    parser.add_argument("--rows", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tune", type=float, default=0.0, help="seconds to try tilings, per model")
    parser.add_argument("--tune-experts", type=float, default=0.0, help="the same of experts'")
    parser.add_argument("--peers", nargs="*", default=[], choices=["compiled", "eager", "static"])
    parser.add_argument("--peer-models", nargs="*", default=["8b"], choices=list(MODELS))
    parser.add_argument("--persistent", action="store_true", help="the kernel that stays")
    parser.add_argument("--seconds", type=float, default=3_600, help="peers end by then")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    facts = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "card": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
    }
    print(facts, flush=True)
    began = time.monotonic()
    checked = {
        "launches": check(TINY),
        "persistent": check(WIDE, is_persistent=True),
        "gpt-oss": check(TINY_OSS),
    }
    print(f"checked in {time.monotonic() - began:.0f} s: {checked}", flush=True)
    stream, copied = read_stream(), copy_stream()
    print(f"read-only {stream / 1e9:.0f} GB/s, copy {copied / 1e9:.0f} GB/s", flush=True)
    report: dict[str, Any] = {**facts, "read_gb_s": stream / 1e9, "copy_gb_s": copied / 1e9}
    report |= {"checked": checked, "speeds": [], "peers": []}
    speeds: list[Speed] = []
    for name in args.models:
        tilings: Tilings = tiling
        if args.tune:
            tilings = tune(name, build_program(CONFIGS[name]), args.tune)
        _free()
        expert_tilings: ExpertTilings = expert_tiling
        if args.tune_experts and name.startswith("gpt-oss"):
            program = build_program(CONFIGS[name])
            expert_tilings = tune_experts(name, program, args.tune_experts, tilings)
            _free()
        speeds += measure(args, name, stream, tilings, expert_tilings)
        report["speeds"] = [asdict(speed) for speed in speeds]
        write(args.out, report)
        print(f"-- {time.monotonic() - began:.0f} s", flush=True)
    for name in args.peers:
        for model in args.peer_models:
            left = args.seconds - (time.monotonic() - began)
            report["peers"].append(peer(name, model, left))
            print(report["peers"][-1], flush=True)
            write(args.out, report)
    for speed in speeds:
        print(
            f"{speed.model:>4} context {speed.context_tokens:>6} rows {speed.rows:>2}: "
            f"{speed.tok_s:8.1f} tok/s  {speed.step_us:8.1f} us  "
            f"{100 * speed.stream_share:5.1f} % of the read-only stream"
        )


if __name__ == "__main__":
    main()
