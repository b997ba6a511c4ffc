"""The console's modules in node, without a page."""

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NODE = shutil.which("node")
STATIC = Path(str(files("headrace.console"))) / "static"


def run_module(module: str, expression: str, given: Any) -> Any:
    """The value of an expression over `m`, a module of the console, and `given`."""
    assert NODE is not None
    code = (
        f'import * as m from "./{module}";'
        'import { readFileSync } from "node:fs";'
        "const given = JSON.parse(readFileSync(0));"
        f"process.stdout.write(JSON.stringify({expression}));"
    )
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        for file in STATIC.glob("*.js"):
            shutil.copy(file, copy)
        (copy / "package.json").write_text('{"type": "module"}')
        (copy / "asked.js").write_text(code)
        done = subprocess.run(
            [NODE, "asked.js"],
            cwd=copy,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
