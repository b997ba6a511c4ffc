"""Checkpoint folder to program, weights, tokenizer and chat template."""

from headrace.model.bundle import bundled_model
from headrace.model.chat_template import ChatTemplate
from headrace.model.checkpoint import Checkpoint, open_checkpoint
from headrace.model.detokenizer import Detokenizer
from headrace.model.language_model import LanguageModel, Network, open_model, open_network
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
