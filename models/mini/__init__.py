"""The recipe of `headrace-mini`, the small chat model that ships inside Headrace.

`generate` makes dialogues, `vocabulary` learns the tokenizer, `network` is the model, `trainer`
fits it, `export` writes the checkpoint folder, `judge` scores it on the frozen evaluation.
"""
