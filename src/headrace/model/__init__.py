"""Checkpoint folder to program, weights, tokenizer and chat template.

What is named here is imported when somebody asks for it: an engine needs no tokenizer.
"""

from typing import TYPE_CHECKING

from headrace.lazy import lazily

if TYPE_CHECKING:
    from headrace.model.bundle import bundled_model
    from headrace.model.chat_template import ChatTemplate
    from headrace.model.checkpoint import Checkpoint, open_checkpoint
    from headrace.model.detokenizer import Detokenizer
    from headrace.model.language_model import LanguageModel, open_model
    from headrace.model.network import Network, open_network
    from headrace.model.program import Program
    from headrace.model.registry import build_program
    from headrace.model.tokenizer import Tokenizer

__all__ = [
    "ChatTemplate",
    "Checkpoint",
    "Detokenizer",
    "LanguageModel",
    "Network",
    "Program",
    "Tokenizer",
    "build_program",
    "bundled_model",
    "open_checkpoint",
    "open_model",
    "open_network",
]

__getattr__ = lazily(
    __name__,
    {
        "ChatTemplate": "chat_template",
        "Checkpoint": "checkpoint",
        "Detokenizer": "detokenizer",
        "LanguageModel": "language_model",
        "Network": "network",
        "Program": "program",
        "Tokenizer": "tokenizer",
        "build_program": "registry",
        "bundled_model": "bundle",
        "open_checkpoint": "checkpoint",
        "open_model": "language_model",
        "open_network": "network",
    },
)
