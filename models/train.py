"""Train headrace-mini: learn the tokenizer, fit the network, write the checkpoint folder.

    python models/train.py --minutes 45 --out build/headrace-mini

A run that was killed goes on from `OUT.run/` when it is started again with the same arguments.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from tokenizers import Tokenizer

from mini.batches import batches
from mini.export import write
from mini.generate import dialogues
from mini.network import Network
from mini.trainer import Trainer
from mini.vocabulary import learn, plain_texts

CARD = Path(__file__).with_name("CARD.md")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--minutes", type=float, default=45.0, help="training budget, minutes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a step")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--tokenizer", type=Path, help="take this tokenizer.json, learn none")
    return parser.parse_args()


def main() -> None:
    """Run it all."""
    options = arguments()
    console = Console(stderr=True)
    torch.set_num_threads(options.threads)
    state = options.out.with_name(options.out.name + ".run")
    state.mkdir(parents=True, exist_ok=True)
    kept = options.tokenizer or state / "tokenizer.json"
    if kept.exists():
        tokenizer = Tokenizer.from_file(str(kept))
    else:
        with console.status("learning the tokenizer"):
            tokenizer = learn(plain_texts(islice(dialogues(options.seed), 30_000)))
        tokenizer.save(str(kept))
    trainer = Trainer(Network(seed=options.seed), options.device, state / "state.pt")
    resumed = trainer.resume()
    seed = options.seed + 1 + trainer.progress.steps  # a resumed run reads new dialogues
    console.print(f"{'resuming' if resumed else 'starting'} on {options.device}")
    loss = trainer.run(batches(dialogues(seed), tokenizer, options.tokens), options.minutes)
    card = CARD.read_text(encoding="utf-8") if CARD.exists() else "# headrace-mini\n"
    write(options.out, trainer.network, tokenizer, card)
    console.print(f"loss {loss:.4f}; wrote {options.out}")


if __name__ == "__main__":
    main()
