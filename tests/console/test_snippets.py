"""What the playground copies does what the page does: run, and compared with the page's request."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.types import Request
from tests.conftest import Serve
from tests.console.javascript import NODE, run_module
from tests.scripted import CARD, ScriptedProvider

JS = Path(__file__).parents[1] / "contract" / "js"

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")

HELLO = {"role": "user", "content": "it's \"quoted\" $HOME `x` \\ \n\t🌊 </script> ${1} '''"}
TOOL = {
    "type": "function",
    "function": {
        "name": "level",
        "description": "it's",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    },
}
CALL = {"id": "a", "type": "function", "function": {"name": "level", "arguments": '{"a": "b"}'}}
BODIES: dict[str, dict[str, Any]] = {
    "plain": {"messages": [HELLO]},
    "settings": {
        "temperature": 0.3,
        "top_p": 0.5,
        "max_tokens": 7,
        "seed": -3,
        "stop": ["it's", "\\n"],
        "messages": [{"role": "system", "content": "Be brief."}, HELLO],
    },
    "tools": {
        "tools": [TOOL],
        "tool_choice": "required",
        "messages": [
            HELLO,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "a", "content": ""},
        ],
    },
    "schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {"a": {"enum": [None, True, 1.5]}},
                    "required": ["a"],
                    "additionalProperties": False,
                },
            },
        },
        "messages": [HELLO],
    },
}
each = pytest.mark.parametrize("name", BODIES)


def write(name: str, url: str, body: dict[str, Any]) -> str:
    code = run_module("snippets.js", f"m.{name}(given.url, given.body)", {"url": url, "body": body})
    assert "YOUR_KEY" in code
    return code


def expected(url: str, provider: ScriptedProvider, body: dict[str, Any]) -> Request:
    httpx.post(f"{url}/v1/chat/completions", json=body).raise_for_status()
    return provider.requests.pop()


def run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def same(one: Request, other: Request) -> None:
    assert replace(one, id="") == replace(other, id="")


@each
def test_python_does_what_the_page_does(serve: Serve, name: str) -> None:
    provider = ScriptedProvider("Hel", "lo 🌊")
    url = serve(provider)
    body = {"model": CARD.id, "stream": True, **BODIES[name]}
    wanted = expected(url, provider, body)
    assert run([sys.executable, "-c", write("asPython", url, body)]) == "Hello 🌊"
    same(provider.requests[0], wanted)


@each
def test_curl_does_what_the_page_does(serve: Serve, name: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: `make test` asks for make and g++ only")
    provider = ScriptedProvider("Hel", "lo 🌊")
    url = serve(provider)
    body = {"model": CARD.id, "stream": True, **BODIES[name]}
    wanted = expected(url, provider, body)
    told = run(["bash", "-c", write("asCurl", url, body)])
    assert '"content":"Hel"' in told
    assert told.endswith("data: [DONE]\n\n")
    same(provider.requests[0], wanted)


@each
@pytest.mark.full
@pytest.mark.skipif(not (JS / "node_modules").is_dir(), reason="needs `make test-js`")
def test_typescript_does_what_the_page_does(serve: Serve, name: str) -> None:
    assert NODE is not None
    provider = ScriptedProvider("Hel", "lo 🌊")
    url = serve(provider)
    body = {"model": CARD.id, "stream": True, **BODIES[name]}
    wanted = expected(url, provider, body)
    code = write("asTypeScript", url, body)
    assert run([NODE, "--input-type=module", "--eval", code], cwd=JS) == "Hello 🌊"
    same(provider.requests[0], wanted)


def test_what_openai_does_not_know_goes_beside() -> None:
    code = write("asPython", "http://x", {"model": "m", "clear_thinking": False, "messages": []})
    assert 'extra_body={\n        "clear_thinking": False,\n    },' in code
