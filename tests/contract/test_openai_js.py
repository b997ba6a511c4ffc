"""The official JavaScript client, over a real socket. `make test-js` installs it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.scripted import CARD, ScriptedProvider

FOLDER = Path(__file__).parent / "js"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        NODE is None or not (FOLDER / "node_modules").is_dir(),
        reason="needs node and `make test-js`",
    ),
]


def test_the_javascript_client_lists_chats_streams_and_raises(serve: Serve):
    url = serve(ScriptedProvider("Hello", " 🌊"))
    assert NODE is not None
    done = subprocess.run(
        [NODE, "chat.js", f"{url}/v1", CARD.id],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["models"] == [CARD.id]
    assert seen["retrieved"] == CARD.id
    assert seen["answer"] == seen["helped"] == "Hello 🌊"
    assert seen["requestId"].startswith("req_")
    assert seen["pieces"] == ["", "Hello", " 🌊", None]
    assert (seen["finish"], seen["usage"]) == ("stop", 9)
    assert seen["unknownModel"]["kind"] == "NotFoundError"
    assert "gpt-99 does not exist" in seen["unknownModel"]["message"]
    assert seen["unknownModelStream"]["status"] == 404
    assert seen["badField"]["kind"] == "BadRequestError"
    assert "temperature" in seen["badField"]["message"]
