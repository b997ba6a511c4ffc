"""The model that comes with the package, so that the first answer needs no download."""

from pathlib import Path

from headrace.errors import CheckpointError

BUNDLED_NAME = "headrace-mini"


def bundled_model() -> Path:
    """Its checkpoint folder. Raises CheckpointError when the installation lacks it."""
    path = Path(__file__).parent / "bundled" / BUNDLED_NAME
    if not path.is_dir():
        raise CheckpointError(f"the bundled model is missing from this installation: {path}")
    return path
