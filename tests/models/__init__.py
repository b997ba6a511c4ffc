"""The recipe of the bundled model, and the checkpoint that it made."""
