"""How fast does one stream decode here, against the best other engines on the same weights?

    python benchmarks/bench_peers.py --setup ~/.cache/peers                  # once, some 20 minutes
    python benchmarks/bench_peers.py --peers ~/.cache/peers --case 5m        # or another of CASES
    python benchmarks/bench_peers.py --peers ~/.cache/peers --case 1b --context 8192

Batch 1, 16-bit weights, greedy, end tokens ignored, the same random prompt for everybody (128
tokens, or what the context leaves), 128 output tokens of which the first is not timed. A prompt is
prefilled whole by the engine that then decodes; only decoding is compared. Each run is a fresh
process that warms up first, rounds rotate the order. After the first round each engine goes on with
its one or two fastest variants, and one that reached less than three quarters of the best peer's
share of the bandwidth is not run again (`--all` runs them all). A run waits until others leave the
CPUs alone, and is repeated if they did not meanwhile.

Before anything is timed, each peer's logits must equal those of the reference backend, which proves
that it computes the same weights. Around each run the read bandwidth of the bytes a step reads and
the round trip of a cache line between the CPUs are measured: a virtual machine's CPUs may move
apart. Medians hold runs of one regime only, and none in which it flipped or others used the CPUs.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from machine import (
    Around,
    Conditions,
    CpuSeconds,
    commit,
    describe,
    probe,
    result_file,
    wait_until_idle,
    wait_until_settled,
)
from peers.environment import PEERS, environment, set_up
from rich.console import Console
from rich.table import Table

import headrace
from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.backends.footprint import footprint
from headrace.backends.host import read_memory
from headrace.backends.reference import ReferenceBackend
from headrace.model import LanguageModel, bundled_model, open_model

HERE = Path(__file__).resolve().parent
MAKE_CHECKPOINT = HERE.parent / "tools/make_random_checkpoint.py"
OURS = "headrace"
MOST_FOREIGN_CPU = 0.1  # of all cores; engines whose threads spin lose far more than that
TRIES = 3
KEPT_SHARE = 0.75  # of the best peer in the first round; below it nobody is the best in the end
PROMPT_TOKENS = 128  # where no context is given
VERIFIED_TOKENS = 48  # of a random prompt
VERIFIED_ROWS = 16  # its last positions
# Root of the mean square, as shares of the logits' standard deviation.
EXACT_DIFFERENCE = 1e-3  # both in float32, summed in another order
ROUNDED_DIFFERENCE = 0.1  # activations rounded to 16 bits; another network differs by 1.4
# To 8 bits, which llama.cpp makes of what meets four-bit weights. Then a router of random weights
# chooses others now and then, and from there on all differs: so it is one layer that is compared,
# where that spoils few positions, and the median position that counts.
EIGHT_BITS_DIFFERENCE = 0.03
say = Console(stderr=True, width=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A checkpoint and how often to decode from it."""

    shape: str | None  # of tools/make_random_checkpoint.py; None: the bundled model
    runs: int  # in one process
    kept: int  # variants of an engine that go on after the first round
    verified_on: str | None = None  # a case of the same layout; None: itself


CASES = {
    "mini": Case(shape=None, runs=5, kept=2),
    "5m": Case(shape="5m", runs=5, kept=2),
    "15m": Case(shape="15m", runs=5, kept=2),
    "1b": Case(shape="llama-3.2-1b", runs=1, kept=1),
    "8b": Case(shape="llama-3.1-8b", runs=1, kept=1),
    "gpt-oss-1-layer": Case(shape="gpt-oss-1-layer", runs=1, kept=1),
    "gpt-oss-4-layers": Case(
        shape="gpt-oss-4-layers", runs=1, kept=1, verified_on="gpt-oss-1-layer"
    ),
    "gpt-oss-20b": Case(shape="gpt-oss-20b", runs=1, kept=1, verified_on="gpt-oss-1-layer"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to decode: how it is called in the table, and its command."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run."""

    round: int
    name: str
    decode_tok_s: float
    prefill_tok_s: float
    roofline_share: float
    foreign_cpu: float  # share of all cores that others took meanwhile, 0..1
    took_s: float  # loading and warming up included
    around: Around

    @property
    def left_out(self) -> str | None:
        """Why the row says nothing about the engine, or None."""
        if self.around.regime is None:
            return "the machine's regime flipped"
        return "others used the CPUs" if self.foreign_cpu > MOST_FOREIGN_CPU else None

    def __str__(self) -> str:
        return (
            f"{self.name:21} {self.decode_tok_s:8,.1f} tok/s {self.roofline_share:4.0%}  others "
            f"{self.foreign_cpu:3.0%}  {self.took_s:3.0f} s  {self.around}"
        ) + (f"; left out: {self.left_out}" if self.left_out else "")


def main() -> int:
    """Set up, or verify, measure and report."""
    given = _arguments()
    if given.setup:
        set_up(given.setup, given.engines)
        return 0
    if given.again:
        return _report(_joined(given.again), given)
    case = CASES[given.case]
    model = open_model(_checkpoint(given.peers, given.case))
    found = {name: _json(_peer(given.peers, name, "info")) for name in given.engines}
    for said in found.values():
        wanted = given.variants or said["variants"]
        said["variants"] = [variant for variant in said["variants"] if variant in wanted]
    judge = case.verified_on or given.case
    verified = {name: _verified(given, name, found[name], judge) for name in given.engines}
    contenders = _contenders(given, case, found, model)
    step_bytes = model.program.bytes_per_token(given.prompt_tokens + given.output_tokens // 2)
    rows = _measure(contenders, given, step_bytes, case.kept)
    report = {
        "question": "single-stream decode against other engines, same weights, interleaved",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "versions": {
            OURS: headrace.__version__,
            "commit": commit(),
            "python": platform.python_version(),
            **{name: said["versions"] for name, said in found.items()},
        },
        "case": given.case,
        "context_tokens": given.prompt_tokens + given.output_tokens,
        "parameters": model.program.num_parameters,
        "bytes_per_token": step_bytes,
        "protocol": {
            "prompt_tokens": given.prompt_tokens,
            "output_tokens": given.output_tokens,
            "rounds": given.rounds,
            "runs_per_round": given.runs or case.runs,
            "threads": given.threads,
            "nice": given.nice,
        },
        "verified": verified,
        **summarise(rows),
        "rows": [_as_json(row) for row in rows],
    }
    return _report(report, given)


def _report(report: dict[str, Any], given: argparse.Namespace) -> int:
    """Print it and keep it."""
    _print(report)
    tokens = report["context_tokens"]
    context = "" if tokens == PROMPT_TOKENS + report["protocol"]["output_tokens"] else f"-{tokens}"
    file = result_file(given.results, f"peers-{report['case']}{context}")
    file.write_text(json.dumps(report, indent=1) + "\n")
    say.print(f"written to {file}")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _joined(files: list[Path]) -> dict[str, Any]:
    """The runs of several results of one case, judged and summarised anew."""
    reports = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if len({(report["case"], report["context_tokens"]) for report in reports}) > 1:
        raise SystemExit("the results are not of one case")
    rows: list[Row] = []
    for report in reports:
        first = max((row.round for row in rows), default=-1) + 1
        rows += [_row_of(said, first, report["bytes_per_token"]) for said in report["rows"]]
    joined = {"joined": [file.name for file in files], "rows": [_as_json(row) for row in rows]}
    return {**reports[-1], **summarise(rows), **joined}


def _row_of(said: dict[str, Any], first_round: int, step_bytes: int) -> Row:
    """A run as it was kept."""
    around = Around(**{at: Conditions(**said["around"][at]) for at in ("before", "after")})
    return Row(
        round=first_round + said["round"],
        name=said["name"],
        decode_tok_s=said["decode_tok_s"],
        prefill_tok_s=said["prefill_tok_s"],
        roofline_share=around.roofline_share(said["decode_tok_s"], step_bytes),
        foreign_cpu=said["foreign_cpu"],
        took_s=said["took_s"],
        around=around,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--setup", type=Path, help="install the peers in environments here")
    parser.add_argument("--peers", type=Path, help="the folder given to --setup")
    parser.add_argument("--again", type=Path, nargs="+", help="results of a case, to join")
    parser.add_argument("--engines", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--variants", nargs="+", help="of the engines; default: all they have")
    parser.add_argument("--case", choices=CASES, default="5m")
    parser.add_argument("--context", type=int, help="tokens, prompt and output together")
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, help="timed runs in each process")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no run after that")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--all", action="store_true", help="run slow variants in each round")
    parser.add_argument("--nice", type=int, default=0, help="of both sides; below 0 needs rights")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    given = parser.parse_args()
    if not given.setup and not given.peers and not given.again:
        parser.error("give --peers, or --setup first")
    given.prompt_tokens = given.context - given.output_tokens if given.context else PROMPT_TOKENS
    return given


def _checkpoint(peers: Path, case: str) -> Path:
    """The case's folder; written first if it is missing."""
    shape = CASES[case].shape
    if shape is None:
        return bundled_model()
    folder = peers / "models" / case
    if not (folder / "config.json").exists():  # the tool writes it last
        say.print(f"writing {folder}")
        asked = ("--like", shape, "--out", str(folder))
        subprocess.run((sys.executable, str(MAKE_CHECKPOINT), *asked), check=True)
    return folder


def _peer(peers: Path, name: str, *arguments: str) -> tuple[str, ...]:
    """A command of the peer's file, in the peer's environment."""
    python = peers / name / "bin/python"
    return str(python), str(HERE / "peers" / f"{name}_peer.py"), *arguments


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
        env=environment(),
        preexec_fn=raise_priority if nice else None,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


# --- the same weights? -----------------------------------------------------------------------


def _verified(
    given: argparse.Namespace, name: str, said: dict[str, Any], case: str
) -> dict[str, Any]:
    """How far each variant's logits are from the reference backend's; remembered by version."""
    folder = _prepared_folder(given, case)
    memory = folder / f"verified-{name}.json"
    if memory.exists():
        known = json.loads(memory.read_text())
        if known["versions"] == said["versions"]:
            return known["variants"]
    model = open_model(_checkpoint(given.peers, case))
    prompt, expected = folder / "verified-prompt.json", folder / "verified-logits.npy"
    needed = footprint("reference", model.program).weight_bytes
    if not expected.exists() and needed > read_memory().available_bytes:
        say.print(f"{name} is not verified: the reference backend needs {needed / 1e9:.0f} GB")
        return {}
    if not expected.exists():
        say.print("computing logits on the reference backend")
        ids = np.random.default_rng(1).integers(0, model.program.vocab_size, VERIFIED_TOKENS)
        prompt.write_text(json.dumps(ids.tolist()))
        np.save(expected, _reference_logits(model, ids))
    quantised = any(weight.holds != "numbers" for weight in model.program.weights().values())
    judged, allowed = (
        ("median_difference", EIGHT_BITS_DIFFERENCE)
        if quantised
        else ("mean_difference", ROUNDED_DIFFERENCE)
    )
    variants = dict.fromkeys(said["variants"], allowed)
    # In float32, twice as large.
    if said["exact"] and model.program.bytes_per_token() < 1 << 30 and not quantised:
        variants[said["exact"]] = EXACT_DIFFERENCE
    found = {}
    for variant, most in variants.items():
        say.print(f"verifying {name} {variant} on {case}")
        file = _prepared(given, name, variant, case)
        asked = ("--prompt", str(prompt), "--expect", str(expected), "--variant", variant)
        found[variant] = _json(_peer(given.peers, name, "verify", file, *asked))
        if not found[variant][judged] <= most:
            raise SystemExit(
                f"{name} {variant} computes something else: its logits are "
                f"{found[variant][judged]:.4f} of their spread from the reference"
            )
    memory.write_text(json.dumps({"versions": said["versions"], "variants": found}))
    return found


def _prepared(given: argparse.Namespace, name: str, variant: str, case: str) -> str:
    """What the peer loads; made once."""
    asked = ("prepare", str(_checkpoint(given.peers, case)), str(_prepared_folder(given, case)))
    return _json(_peer(given.peers, name, *asked, "--variant", variant))["prepared"]


def _prepared_folder(given: argparse.Namespace, case: str) -> Path:
    """Where all that is made of a case's checkpoint lies."""
    folder = given.peers / "prepared" / case
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _reference_logits(model: LanguageModel, ids: np.ndarray) -> np.ndarray:
    """Logits [VERIFIED_ROWS, V] with everything in float32, the cache too."""
    blocks = -(-len(ids) // BLOCK_TOKENS)
    backend = ReferenceBackend(model.program, model.weights, num_blocks=blocks, round_kv=False)
    batch = Batch(
        token_ids=ids.astype(np.int32),
        positions=np.arange(len(ids), dtype=np.int32),
        row_sequence=np.zeros(len(ids), np.int32),
        block_tables=np.arange(blocks, dtype=np.int32)[None],
        sample_rows=np.arange(len(ids) - VERIFIED_ROWS, len(ids), dtype=np.int32),
        sampling=Sampling.greedy(VERIFIED_ROWS),
        want_logits=True,
    )
    logits = backend.step(batch).logits
    backend.close()
    assert logits is not None
    return logits


# --- how fast? -------------------------------------------------------------------------------


def _contenders(
    given: argparse.Namespace, case: Case, found: dict[str, Any], model: LanguageModel
) -> list[Contender]:
    # the prompt that `headrace bench decode` draws
    ids = np.random.default_rng(0).integers(0, model.program.vocab_size, (1, given.prompt_tokens))
    prompt = _prepared_folder(given, given.case) / f"prompt-{given.prompt_tokens}.json"
    prompt.write_text(json.dumps(ids[0].tolist()))
    shape = ("--output-tokens", str(given.output_tokens), "--threads", str(given.threads))
    shape += ("--runs", str(given.runs or case.runs))
    ours = (sys.executable, "-m", "headrace", "bench", "decode", str(model.path), "--json")
    ours += ("--prompt-tokens", str(given.prompt_tokens), "--batch", "1", *shape)
    contenders = [Contender(name=OURS, command=ours)]
    for name, said in found.items():
        for variant in said["variants"]:
            file = _prepared(given, name, variant, given.case)
            asked = ("decode", file, "--prompt", str(prompt), "--variant", variant, *shape)
            contenders.append(
                Contender(name=f"{name} {variant}", command=_peer(given.peers, name, *asked))
            )
    return contenders


def _measure(
    contenders: list[Contender], given: argparse.Namespace, step_bytes: int, kept: int
) -> list[Row]:
    """All rows, in order, while there is time; what is left out is repeated, at most twice."""
    rows: list[Row] = []
    end_s = time.monotonic() + 60 * given.minutes
    for number in range(given.rounds):
        first = number % len(contenders)  # nobody always goes first
        for contender in contenders[first:] + contenders[:first]:
            for _ in range(TRIES):
                if time.monotonic() > end_s:
                    say.print(f"{given.minutes:g} minutes are over")
                    return rows
                wait_until_settled(step_bytes)  # after the run before
                wait_until_idle(MOST_FOREIGN_CPU)
                row = _run(contender, given, step_bytes, number)
                rows.append(row)
                say.print(f"{number + 1}/{given.rounds} {row}", soft_wrap=True)
                if not row.left_out:
                    break
        if number == 0 and not given.all:
            slow = slow_variants(rows, kept)
            contenders = [c for c in contenders if c.name not in slow]
    return rows


def slow_variants(rows: list[Row], kept: int) -> set[str]:
    """The variants that will not be the best peer, by what counts of the first round.

    They are those far below the best peer, and all but the `kept` fastest of an engine.
    """
    shares = {row.name: row.roofline_share for row in rows if not row.left_out and row.name != OURS}
    best = max(shares.values(), default=0.0)
    slow = {name for name, share in shares.items() if share < KEPT_SHARE * best}
    by_speed = sorted(shares, key=lambda name: -shares[name])
    for i, name in enumerate(by_speed):
        faster = sum(_engine(other) == _engine(name) for other in by_speed[:i])
        if faster >= kept:
            slow.add(name)
    return slow


def _engine(name: str) -> str:
    return name.partition(" ")[0]


def _run(contender: Contender, given: argparse.Namespace, step_bytes: int, number: int) -> Row:
    before = probe(step_bytes, given.threads)
    cpu, start = CpuSeconds.now(), time.perf_counter()
    found = _json(contender.command, nice=given.nice)
    took_s = time.perf_counter() - start
    foreign_cpu = CpuSeconds.now().foreign_share(cpu)
    around = Around(before=before, after=probe(step_bytes, given.threads))
    return Row(
        round=number,
        name=contender.name,
        decode_tok_s=found["decode_tok_s"],
        prefill_tok_s=found["prefill_tok_s"],
        roofline_share=around.roofline_share(found["decode_tok_s"], step_bytes),
        foreign_cpu=foreign_cpu,
        took_s=took_s,
        around=around,
    )


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Medians within each regime, and the ratios to the best peer there."""
    kept: dict[str, list[Row]] = {}
    for row in rows:
        if row.around.regime and not row.left_out:
            kept.setdefault(row.around.regime, []).append(row)
    reasons = Counter(row.left_out for row in rows if row.left_out)
    regimes = {regime: _summary(of_regime) for regime, of_regime in kept.items()}
    return {"regimes": regimes, "left_out": dict(reasons)}


def _summary(rows: list[Row]) -> dict[str, Any]:
    """What the rows of one regime say."""
    results = {}
    for name in dict.fromkeys(row.name for row in rows):
        of_name = [row for row in rows if row.name == name]
        results[name] = {
            "runs": len(of_name),
            "decode_tok_s": statistics.median(row.decode_tok_s for row in of_name),
            "decode_tok_s_min": min(row.decode_tok_s for row in of_name),
            "decode_tok_s_max": max(row.decode_tok_s for row in of_name),
            "prefill_tok_s": statistics.median(row.prefill_tok_s for row in of_name),
            "roofline_share": statistics.median(row.roofline_share for row in of_name),
            "foreign_cpu": statistics.median(row.foreign_cpu for row in of_name),
        }
    conditions = [at for row in rows for at in (row.around.before, row.around.after)]
    summary: dict[str, Any] = {
        "round_trip_ns": _median_round_trip(conditions),
        "read_bandwidth_gb_s": statistics.median(at.read_bandwidth_gb_s for at in conditions),
        "results": results,
    }
    peers = [name for name in results if name != OURS]
    if OURS in results and peers:
        best = max(peers, key=lambda name: results[name]["decode_tok_s"])
        ours, theirs = (
            {row.round: row.decode_tok_s for row in rows if row.name == name}
            for name in (OURS, best)
        )
        summary["best_peer"] = best
        summary["ratio"] = results[OURS]["decode_tok_s"] / results[best]["decode_tok_s"]
        summary["ratio_rounds"] = [ours[i] / theirs[i] for i in sorted(ours.keys() & theirs.keys())]
    return summary


def _median_round_trip(conditions: list[Conditions]) -> float | None:
    trips = [at.round_trip_ns for at in conditions if at.round_trip_ns is not None]
    return statistics.median(trips) if trips else None


def _as_json(row: Row) -> dict[str, Any]:
    return {**asdict(row), "regime": row.around.regime, "left_out": row.left_out}


def _print(report: dict[str, Any]) -> None:
    for regime, said in report["regimes"].items():
        title = f"{report['case']}, {report['context_tokens']} tokens: decode, one stream, 16 bits"
        if said["round_trip_ns"] is not None:
            title += f"; CPUs {regime}, {said['round_trip_ns']:.0f} ns"
        title += f"; memory reads {said['read_bandwidth_gb_s']:.0f} GB/s"
        table = Table(title=title)
        table.add_column("engine")
        columns = ("runs", "decode tok/s", "min .. max", "of bandwidth", "prefill tok/s", "others")
        for column in columns:
            table.add_column(column, justify="right")
        for name, row in said["results"].items():
            table.add_row(
                name,
                str(row["runs"]),
                f"{row['decode_tok_s']:,.1f}",
                f"{row['decode_tok_s_min']:,.1f} .. {row['decode_tok_s_max']:,.1f}",
                f"{row['roofline_share']:.0%}",
                f"{row['prefill_tok_s']:,.0f}",
                f"{row['foreign_cpu']:.0%}",
            )
        say.print(table)
        if "ratio" in said:
            rounds = ", ".join(f"{ratio:.2f}" for ratio in said["ratio_rounds"])
            say.print(f"headrace is {said['ratio']:.2f}x {said['best_peer']} (rounds: {rounds})")


if __name__ == "__main__":
    raise SystemExit(main())
