"""Checkpoint folder to program, weights, tokenizer and chat template."""
