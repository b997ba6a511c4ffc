"""Makes the recipe in `models/` importable as `mini`; nothing here needs PyTorch."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "models"))
