"""Libraries people use instead of the official client: a structured and a tool round trip each.

None of them needs a special case in our code. `make test-full` installs them.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.other_clients import LIBRARIES, MODEL, City
from tests.contract.test_engine_death import server

JS = Path(__file__).parent / "js"
NODE = shutil.which("node")

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("home"), "cpu") as (url, _):
        yield url


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_does_a_structured_and_a_tool_round_trip(library: str, url: str) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "tests.contract.other_clients", library, url),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    NODE is None or not (JS / "node_modules").is_dir(), reason="needs node and `make test-js`"
)
def test_javascript_objects_and_tools(url: str) -> None:
    assert NODE is not None
    done = subprocess.run(
        [NODE, "objects.js", url, MODEL],
        cwd=JS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    City.model_validate(seen["parsed"])
    City.model_validate(seen["object"])
    assert set(seen["called"]) == set(seen["streamed"]) == {"get_time"}
    assert seen["finish"] == "tool_calls"
    assert seen["text"]
