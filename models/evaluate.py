"""Score a checkpoint folder on the frozen evaluation: a table on stderr, JSON on standard output.

python models/evaluate.py src/headrace/model/bundled/headrace-mini --show wrong
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mini.export import read
from mini.judge import Verdict, judge

EVALUATION = Path(__file__).with_name("eval")


def main() -> None:
    """Answer, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="checkpoint folder")
    parser.add_argument("--show", choices=("none", "wrong", "all"), default="none")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console(stderr=True)
    network, tokenizer = read(options.folder)
    total = sum(len(p.read_text("utf-8").splitlines()) for p in EVALUATION.glob("*.jsonl"))
    verdicts: list[Verdict] = []
    for verdict in track(
        judge(network, tokenizer, EVALUATION), "answering", total=total, console=console
    ):
        verdicts.append(verdict)
        if options.show == "all" or (options.show == "wrong" and not verdict.right):
            asked = verdict.item["messages"][-1].get("content")
            mark = "+" if verdict.right else "-"
            console.print(f"{mark} {verdict.item['id']}: {asked} -> {verdict.answer}", markup=False)
    scores: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts:
        scores[verdict.item["category"]].append(verdict.right)
    scores["all"] = [verdict.right for verdict in verdicts]
    table = Table("category", "right", "of", "%")
    for category, marks in scores.items():
        share = f"{100 * sum(marks) / len(marks):.0f}"
        table.add_row(category, str(sum(marks)), str(len(marks)), share)
    console.print(table)
    print(json.dumps({c: {"right": sum(m), "of": len(m)} for c, m in scores.items()}))


if __name__ == "__main__":
    main()
