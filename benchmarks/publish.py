"""Fill docs/performance.md and draw its picture from what bench_peers.py found.

    pip install -r benchmarks/requirements.txt
    python benchmarks/publish.py benchmarks/results/DATE-peers-*.json

Each file is one case. The tables take the place of those between the page's two marks; the picture
is docs/images/roofline.png: tokens per second over the bytes a token must read, with a line for the
bandwidth that was measured around the runs of each case.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "performance.md"
PICTURE = DOCS / "images/roofline.png"
MARKS = ("<!-- tables: written by benchmarks/publish.py -->", "<!-- end of tables -->")
OURS = "headrace"
NAMES = {
    OURS: "Headrace",
    "llamacpp": "llama.cpp",
    "openvino": "OpenVINO GenAI",
    "transformers": "transformers",
    "vllm": "vLLM",
}
LOOKS = {
    OURS: ("o", "#c2410c"),
    "llamacpp": ("s", "#1d4ed8"),
    "openvino": ("^", "#047857"),
    "transformers": ("v", "#6b7280"),
    "vllm": ("D", "#7e22ce"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One case in one regime of the machine."""

    case: str
    context_tokens: int
    bytes_per_token: int
    regime: str
    said: dict[str, Any]
    report: dict[str, Any]

    @property
    def bandwidth_gb_s(self) -> float:
        """Read with the threads of the runs, from as many bytes as a token must read."""
        return self.said["read_bandwidth_gb_s"]


def main() -> None:
    """Read the results, write page and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    asked = parser.parse_args()
    measured = [found for file in asked.results for found in read(file)]
    measured.sort(key=lambda one: one.bytes_per_token)
    draw(measured, PICTURE)
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    _, after = rest.split(MARKS[1])
    page = "\n\n".join([before + MARKS[0], *map(table, measured), MARKS[1]]) + after
    PAGE.write_text(page, encoding="utf-8")


def read(file: Path) -> Iterator[Measured]:
    """The regimes in which a case was measured against a peer."""
    report = json.loads(file.read_text(encoding="utf-8"))
    for regime, said in report["regimes"].items():
        if "ratio" in said:
            yield Measured(
                case=report["case"],
                context_tokens=report["context_tokens"],
                bytes_per_token=report["bytes_per_token"],
                regime=regime,
                said=said,
                report=report,
            )


def table(one: Measured) -> str:
    """One case as Markdown."""
    at = one.said
    trip = at["round_trip_ns"]
    machine = one.report["machine"]
    lines = [
        f"### {one.case}, {one.context_tokens:,} tokens of context, CPUs {one.regime}",
        "",
        f"{one.bytes_per_token / 1e6:,.1f} MB a token; {machine['cores']} × {machine['cpu']}, "
        f"{one.report['date'][:10]}, commit {one.report['versions']['commit']}; "
        + (f"round trip {trip:.0f} ns, " if trip is not None else "")
        + f"read bandwidth {one.bandwidth_gb_s:.0f} GB/s.",
        "",
        "| engine | decode tok/s | range | of bandwidth | prefill tok/s | runs | others' CPU |",
        "|---|---|---|---|---|---|---|",
    ]
    by_speed = sorted(at["results"].items(), key=lambda item: -item[1]["decode_tok_s"])
    for name, row in by_speed:
        lines.append(
            f"| {title(name)} | {speed(row['decode_tok_s'])} | {speed(row['decode_tok_s_min'])} – "
            f"{speed(row['decode_tok_s_max'])} | {row['roofline_share']:.0%} | "
            f"{row['prefill_tok_s']:,.0f} | {row['runs']} | {row['foreign_cpu']:.0%} |"
        )
    rounds = ", ".join(f"{ratio:.2f}" for ratio in at["ratio_rounds"])
    lines += [
        "",
        f"Against the best peer, {title(at['best_peer'])}: **{at['ratio']:.2f}×** "
        f"(rounds: {rounds}).",
    ]
    for reason, runs in one.report["left_out"].items():
        lines.append(f"Runs left out because {reason}: {runs}.")
    return "\n".join(lines)


def title(name: str) -> str:
    """`llamacpp bf16 flash` as people write it."""
    engine, _, variant = name.partition(" ")
    return f"**{NAMES[engine]}**" if engine == OURS else f"{NAMES[engine]}, {variant}"


def speed(tokens_per_s: float) -> str:
    """With as many digits as mean something."""
    return f"{tokens_per_s:,.0f}" if tokens_per_s >= 100 else f"{tokens_per_s:.1f}"


def draw(measured: Sequence[Measured], file: Path) -> None:
    """The roofline picture."""
    mpl.rcParams.update({"font.size": 10})
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    sizes = [one.bytes_per_token / 1e6 for one in measured]
    low, high = min(sizes) / 2.5, max(sizes) * 2.5
    beside: dict[float, list[float]] = {}  # bandwidths of lines that begin together, by where
    for one, x in zip(measured, sizes, strict=True):
        gb_s, ends = one.bandwidth_gb_s, (x / 2.2, x * 2.2)
        axes.plot(ends, [gb_s * 1e3 / end for end in ends], color="#9ca3af", lw=1.4, zorder=1)
        first = next((at for at in beside if ends[0] < 1.3 * at), ends[0])  # sizes rise
        beside.setdefault(first, []).append(gb_s)
    for start, rates in beside.items():
        axes.annotate(
            ", ".join(f"{rate:.0f}" for rate in sorted(rates)) + " GB/s measured",
            (start, max(rates) * 1e3 / start),
            xytext=(4, 4),
            textcoords="offset points",
            color="#4b5563",
            fontsize=9,
        )
    seen: set[str] = set()
    for one in measured:
        for engine, row in best_of_each(one).items():
            marker, colour = LOOKS[engine]
            axes.plot(
                one.bytes_per_token / 1e6,
                row["decode_tok_s"],
                marker,
                color=colour,
                mfc=colour if engine == OURS else "white",
                ms=9 if engine == OURS else 7,
                mew=1.6,
                ls="none",
                label=None if engine in seen else NAMES[engine],
                zorder=3 if engine == OURS else 2,
            )
            seen.add(engine)
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(low, high),
        xlabel="MB that one token must read (weights once, and the cache)",
        ylabel="tokens per second, one stream",
    )
    axes.grid(which="major", color="#e5e7eb", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    named: dict[str, tuple[float, float]] = {}  # the lowest point of each case, of any regime
    for one, x in zip(measured, sizes, strict=True):
        rate = min(row["decode_tok_s"] for row in best_of_each(one).values())
        place = f"{one.case}\n{one.context_tokens:,} tokens"
        named[place] = (x, min(rate, named.get(place, (x, rate))[1]))
    for place, (x, rate) in named.items():
        crowded = any(x < other < 1.6 * x for other, _ in named.values())
        shifted = any(x > other > x / 1.6 for other, _ in named.values())
        axes.annotate(
            place,
            (x, rate),
            xytext=(0, -9),
            textcoords="offset points",
            ha="right" if crowded else "left" if shifted else "center",
            va="top",
        )
    axes.margins(y=0.12)
    axes.legend(frameon=False, loc="upper right")
    machine = measured[0].report["machine"]
    figure.suptitle(f"Decode against the memory's speed: {machine['cores']} × {machine['cpu']}")
    figure.savefig(file, dpi=130)


def best_of_each(one: Measured) -> dict[str, dict[str, Any]]:
    """Each engine's fastest variant."""
    best: dict[str, dict[str, Any]] = {}
    for name, row in one.said["results"].items():
        engine = name.partition(" ")[0]
        if engine not in best or row["decode_tok_s"] > best[engine]["decode_tok_s"]:
            best[engine] = row
    return best


if __name__ == "__main__":
    main()
