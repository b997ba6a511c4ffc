"""How fast does one stream decode here, against llama.cpp on the same weights?

    python benchmarks/bench_decode_vs_llamacpp.py --setup ~/.cache/llamacpp-peer     # once, minutes
    python benchmarks/bench_decode_vs_llamacpp.py --peer-python ~/.cache/llamacpp-peer/bin/python

Batch 1, 16-bit weights, greedy, end tokens ignored, the same 128 random prompt tokens on both
sides, 128 output tokens of which the first is not timed. Rounds interleave Headrace with llama.cpp
in bf16 and f16, flash attention off and on, each run in a fresh process that warms up first; the
medians are compared with llama.cpp's best variant. Before anything is timed, llama.cpp must choose
the tokens that Headrace's reference backend chose, which proves that it computes the same weights.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import headrace
from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.backends.reference import ReferenceBackend
from headrace.model import LanguageModel, bundled_model, open_model
from headrace.types import Message, Role

HERE = Path(__file__).resolve().parent
PEER = HERE / "llamacpp_peer.py"
REQUIREMENTS = HERE / "requirements-llamacpp.txt"
NATIVE = "-DGGML_NATIVE=ON -DGGML_OPENMP=ON -DMTMD_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF"
ASKED = "Tell me a short story about a mill."
LARGEST_GAP = 0.05  # of the logits' spread; llama.cpp rounds activations to its weights' precision
say = Console(stderr=True, width=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to decode: how it is called in the table, and its command."""

    name: str
    command: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Runs:
    """What one contender reached, a value per round."""

    decode_tok_s: list[float]
    prefill_tok_s: list[float]
    foreign_cpu: list[float]  # share of all cores that others took meanwhile, 0..1
    token_ids: list[int]  # of the last round


def main() -> int:
    """Set up, or verify, measure and report."""
    given = _arguments()
    if given.setup:
        return _setup(given.setup)
    model = open_model(given.model)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        peer = (str(given.peer_python), str(PEER))
        files = {}
        for dtype in ("bf16", "f16"):
            files[dtype] = work / f"{dtype}.gguf"
            _json((*peer, "convert", str(given.model), str(files[dtype]), "--dtype", dtype))
        verified = _verify(model, peer, files, work, given.output_tokens)
        contenders = _contenders(given, peer, files, work, model.program.vocab_size)
        results = _measure(contenders, given.rounds, given.nice)
    report = _report(given, model, verified, results, _json((*peer, "info")))
    _print(report)
    name = f"{datetime.now(UTC):%Y-%m-%d-%H%M}-decode-vs-llamacpp-{platform.machine()}.json"
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / name).write_text(json.dumps(report, indent=2) + "\n")
    say.print(f"written to {given.results / name}")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setup", type=Path, help="build llama.cpp in a new environment here")
    parser.add_argument("--peer-python", type=Path, help="that environment's python")
    parser.add_argument("--model", type=Path, default=bundled_model())
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5, help="timed runs in each process")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--nice", type=int, default=0, help="of both sides; below 0 needs rights")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    given = parser.parse_args()
    if not given.setup and not given.peer_python:
        parser.error("give --peer-python, or --setup first")
    return given


def _setup(folder: Path) -> int:
    """A virtual environment with llama.cpp compiled for this machine."""
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin/python"), "-m", "pip", "install"]
    command += ["--no-binary", "llama-cpp-python", "-r", str(REQUIREMENTS)]
    return subprocess.run(command, env={**_environment(), "CMAKE_ARGS": NATIVE}).returncode


def _environment() -> dict[str, str]:
    return dict(os.environ)  # noqa: TID251 (handed on to a child, not read)


def _json(command: tuple[str, ...], *, nice: int = 0) -> dict[str, Any]:
    """The JSON object a command prints; its complaints are shown when it fails."""

    def raise_priority() -> None:
        os.setsid()  # Linux shares the cores between sessions first, then within one
        group = Path("/proc/self/autogroup")
        if group.exists():
            group.write_text(str(nice))
        os.setpriority(os.PRIO_PROCESS, 0, nice)

    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=_environment(),
        preexec_fn=raise_priority if nice else None,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


# --- the same weights? -----------------------------------------------------------------------


def _verify(
    model: LanguageModel, peer: tuple[str, ...], files: dict[str, Path], work: Path, count: int
) -> dict[str, Any]:
    """Whether llama.cpp would choose the reference backend's greedy tokens, per weight type."""
    say.print(f"verifying {count} greedy tokens against the reference backend")
    prompt = model.chat_template.render_ids([Message(role=Role.USER, content=ASKED)])
    expected = _reference_tokens(model, prompt, count)
    (work / "asked.json").write_text(json.dumps(prompt))
    (work / "expected.json").write_text(json.dumps(expected))
    found: dict[str, Any] = {}
    files = {**files, "f32": work / "f32.gguf"}
    _json((*peer, "convert", str(model.path), str(files["f32"]), "--dtype", "f32"))
    for dtype, file in files.items():
        ids = ("--prompt", str(work / "asked.json"), "--expect", str(work / "expected.json"))
        found[dtype] = _json((*peer, "verify", str(file), *ids))
        gap = found[dtype]["largest_gap"]
        if gap > (0.0 if dtype == "f32" else LARGEST_GAP):
            raise SystemExit(
                f"llama.cpp in {dtype} computes something else: a token of the reference backend "
                f"lies {gap:.3f} of the logits' spread below its best"
            )
    files["f32"].unlink()
    return found


def _reference_tokens(model: LanguageModel, prompt: list[int], count: int) -> list[int]:
    """Greedy tokens with everything in float32, the cache too."""
    blocks = -(-(len(prompt) + count) // BLOCK_TOKENS)
    backend = ReferenceBackend(model.program, model.weights, num_blocks=blocks, round_kv=False)
    tokens: list[int] = []
    fed, position = prompt, 0
    while len(tokens) < count:
        rows = len(fed)
        batch = Batch(
            token_ids=np.array(fed, np.int32),
            positions=np.arange(position, position + rows, dtype=np.int32),
            row_sequence=np.zeros(rows, np.int32),
            block_tables=np.arange(blocks, dtype=np.int32)[None],
            sample_rows=np.array([rows - 1], np.int32),
            sampling=Sampling.greedy(1),
        )
        position += rows
        fed = backend.step(batch).token_ids.tolist()
        tokens += fed
    return tokens


# --- how fast? -------------------------------------------------------------------------------


def _contenders(
    given: argparse.Namespace,
    peer: tuple[str, ...],
    files: dict[str, Path],
    work: Path,
    vocab_size: int,
) -> list[Contender]:
    # the prompt that `headrace bench decode` draws
    prompt = np.random.default_rng(0).integers(0, vocab_size, (1, given.prompt_tokens))[0]
    (work / "prompt.json").write_text(json.dumps(prompt.tolist()))
    shape = ("--output-tokens", str(given.output_tokens), "--threads", str(given.threads))
    shape += ("--runs", str(given.runs))
    ours = (sys.executable, "-m", "headrace", "bench", "decode")
    ours += (str(given.model), "--prompt-tokens", str(given.prompt_tokens), "--batch", "1")
    contenders = [Contender(name="headrace", command=(*ours, *shape, "--json"))]
    for dtype, file in files.items():
        for flash in (False, True):
            command = (*peer, "decode", str(file), "--prompt", str(work / "prompt.json"), *shape)
            contenders.append(
                Contender(
                    name=f"llama.cpp {dtype}{' flash' if flash else ''}",
                    command=(*command, "--flash") if flash else command,
                )
            )
    return contenders


def _measure(contenders: list[Contender], rounds: int, nice: int) -> dict[str, Runs]:
    results = {
        c.name: Runs(decode_tok_s=[], prefill_tok_s=[], foreign_cpu=[], token_ids=[])
        for c in contenders
    }
    for number in range(rounds):
        first = number % len(contenders)  # nobody always goes first
        for contender in contenders[first:] + contenders[:first]:
            before = _cpu_seconds()
            found = _json(contender.command, nice=nice)
            runs = results[contender.name]
            runs.decode_tok_s.append(found["decode_tok_s"])
            runs.prefill_tok_s.append(found["prefill_tok_s"])
            runs.foreign_cpu.append(_foreign_share(before, _cpu_seconds()))
            runs.token_ids = found["token_ids"]
            say.print(
                f"round {number + 1}/{rounds}  {contender.name:22} "
                f"{found['decode_tok_s']:9,.0f} tok/s   others {runs.foreign_cpu[-1]:4.0%}"
            )
    return results


def _cpu_seconds() -> tuple[float, float, float]:
    """Busy seconds of all cores, of our children, and all cores' seconds, so far."""
    ticks = [int(t) for t in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = sum(ticks) - ticks[3] - ticks[4]
    return busy / hertz, children.ru_utime + children.ru_stime, sum(ticks) / hertz


def _foreign_share(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    busy, children, total = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, (busy - children) / total)


def _report(
    given: argparse.Namespace,
    model: LanguageModel,
    verified: dict[str, Any],
    results: dict[str, Runs],
    peer: dict[str, Any],
) -> dict[str, Any]:
    medians = {name: statistics.median(runs.decode_tok_s) for name, runs in results.items()}
    best = max((name for name in medians if name != "headrace"), key=lambda name: medians[name])
    rounds = zip(results["headrace"].decode_tok_s, results[best].decode_tok_s, strict=True)
    ratios = [ours / theirs for ours, theirs in rounds]
    return {
        "question": "single-stream decode against llama.cpp, same weights, interleaved",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "load_average": os.getloadavg(),
        },
        "versions": {
            "headrace": headrace.__version__,
            "commit": _commit(),
            "python": platform.python_version(),
            "peer": peer,
        },
        "model": model.name,
        "parameters": model.program.num_parameters,
        "bytes_per_token": model.program.bytes_per_token(),
        "protocol": {
            "prompt_tokens": given.prompt_tokens,
            "output_tokens": given.output_tokens,
            "rounds": given.rounds,
            "runs_per_round": given.runs,
            "threads": given.threads,
            "nice": given.nice,
        },
        "verified": verified,
        "results": {
            name: {
                "decode_tok_s": medians[name],
                "decode_tok_s_rounds": runs.decode_tok_s,
                "prefill_tok_s": statistics.median(runs.prefill_tok_s),
                "foreign_cpu": statistics.median(runs.foreign_cpu),
                "tokens_as_headrace": _common(runs.token_ids, results["headrace"].token_ids),
            }
            for name, runs in results.items()
        },
        "best_peer": best,
        "ratio": medians["headrace"] / medians[best],
        "ratio_rounds": ratios,
        "ratio_worst_round": min(ratios),
    }


def _common(one: list[int], other: list[int]) -> int:
    """How many tokens agree before the first that does not."""
    pairs = zip(one, other, strict=True)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(one))


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str | None:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or None


def _print(report: dict[str, Any]) -> None:
    table = Table(title=f"{report['model']}: decode, one stream, 16 bits")
    table.add_column("engine")
    for title in ("decode tok/s", "min .. max", "of headrace", "prefill tok/s", "others' CPU"):
        table.add_column(title, justify="right")
    ours = report["results"]["headrace"]["decode_tok_s"]
    for name, row in report["results"].items():
        rounds = row["decode_tok_s_rounds"]
        table.add_row(
            name,
            f"{row['decode_tok_s']:,.0f}",
            f"{min(rounds):,.0f} .. {max(rounds):,.0f}",
            f"{row['decode_tok_s'] / ours:.2f}",
            f"{row['prefill_tok_s']:,.0f}",
            f"{row['foreign_cpu']:.0%}",
        )
    say.print(table)
    say.print(
        f"headrace is {report['ratio']:.2f}x {report['best_peer']} "
        f"(rounds: {', '.join(f'{ratio:.2f}' for ratio in report['ratio_rounds'])})"
    )


if __name__ == "__main__":
    raise SystemExit(main())
