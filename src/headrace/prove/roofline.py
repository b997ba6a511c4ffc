"""How much of what this machine's memory gives one stream gets."""

from pathlib import Path

from headrace.bench.decode import DecodeResult, DecodeShape, bench_decode
from headrace.clock import Clock
from headrace.config import EngineConfig
from headrace.engine import build_backend, build_engine, plan_caches
from headrace.model import open_model
from headrace.prove.point import Point

SHAPE = DecodeShape(prompt_tokens=128, output_tokens=128, batch=1, runs=5)
MOST_SHARE = 1.2  # more than the memory gives: one of the two was measured wrongly


def judged(result: DecodeResult, bandwidth_gb_s: float, least_share: float, command: str) -> Point:
    """Whether decoding reads at `least_share` of the measured bandwidth, and not beyond it."""
    share = result.read_rate_gb_s / bandwidth_gb_s
    faults: list[str] = []
    if share < least_share:
        faults.append(f"{share:.0%} of the bandwidth, and {least_share:.0%} is asked for")
    if share > MOST_SHARE:
        faults.append(f"{share:.0%} of the bandwidth cannot be: the machine changed in between")
    return Point(
        name="roofline",
        claim=f"One stream is decoded at {least_share:.0%} or more of the speed at which this "
        "machine reads that many bytes: nothing could be more than so much faster.",
        faults=faults,
        facts=(
            ("share of the measured bandwidth", f"{share:.0%}"),
            ("decode", f"{result.decode_tok_s:,.0f} tok/s (median of {SHAPE.runs})"),
            ("read for a token", f"{result.bytes_per_token / 1e6:,.1f} MB"),
            ("this machine reads so much at", f"{bandwidth_gb_s:,.1f} GB/s"),
        ),
        command=command,
    )


def prove_roofline(model: Path, clock: Clock, again: str, *, least_share: float) -> Point:
    """Decode, then measure the bandwidth over as many bytes, at once: machines change."""
    from headrace.backends.cpu import physical_cores, read_bandwidth

    opened = open_model(model)
    config = plan_caches({opened.name: opened.program}, EngineConfig())[opened.name]
    backend = build_backend(opened.program, opened.weights, config)
    try:
        result = bench_decode(build_engine(backend, config, clock), opened.program, SHAPE, clock)
    finally:
        backend.close()
    bandwidth_gb_s = read_bandwidth(result.step_bytes, threads=physical_cores()) / 1e9
    command = f"{again} --only roofline --least-share {least_share:g}"
    return judged(result, bandwidth_gb_s, least_share, command)
