"""Libraries people use instead of the official client: a structured and a tool round trip each.

None of them needs a special case in our code. They are installed by `make test-full`.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from headrace.model import bundled_model, open_model
from tests.contract.test_engine_death import server
from tests.contract.test_structured_output import TOOLS, schema_format

MODEL = open_model(bundled_model()).name
JS = Path(__file__).parent / "js"
NODE = shutil.which("node")
QUESTION = "What is the weather in Rome?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore"),  # theirs
]


def library(name: str) -> Any:
    """One of them; nobody else needs their types."""
    return import_module(name)


class City(BaseModel):
    """A city and its country."""

    name: str
    country: str


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("home"), "cpu") as (url, _):
        yield url


def test_groq(url: str) -> None:
    groq = library("groq")
    with groq.Groq(base_url=url, api_key="none", max_retries=0) as client:
        create: Any = client.chat.completions.create
        asked = {"model": MODEL, "messages": MESSAGES, "seed": 1, "max_completion_tokens": 300}
        schema = {**City.model_json_schema(), "additionalProperties": False}
        answer = create(**asked, response_format=schema_format(schema))
        City.model_validate_json(answer.choices[0].message.content)
        called = create(**asked, tools=TOOLS, tool_choice="required")
        assert called.choices[0].message.tool_calls


def test_langchain(url: str) -> None:
    model = library("langchain_openai").ChatOpenAI(
        base_url=f"{url}/v1", api_key="none", model=MODEL, seed=1, max_tokens=300, stream_usage=True
    )
    for method in ("json_schema", "function_calling"):
        assert isinstance(model.with_structured_output(City, method=method).invoke(QUESTION), City)
    chunks = list(model.bind_tools(TOOLS, tool_choice="required").stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    assert whole.tool_calls
    assert whole.usage_metadata["output_tokens"] > 0


def test_litellm(url: str) -> None:
    litellm = library("litellm")
    asked: dict[str, Any] = {
        "model": f"openai/{MODEL}",
        "api_base": f"{url}/v1",
        "api_key": "none",
        "messages": MESSAGES,
        "seed": 1,
        "max_tokens": 300,
    }
    answer: Any = litellm.completion(**asked, response_format=City)
    City.model_validate_json(answer.choices[0].message.content)
    called: Any = litellm.completion(**asked, tools=TOOLS, tool_choice="required")
    assert called.choices[0].finish_reason == "tool_calls"


def test_instructor(url: str) -> None:
    instructor = library("instructor")
    raw = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        client: Any = instructor.from_openai(raw, mode=mode)
        city = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, response_model=City, seed=1, max_tokens=300
        )
        assert isinstance(city, City)


def test_pydantic_ai(url: str) -> None:
    ai = library("pydantic_ai")
    provider = library("pydantic_ai.providers.openai").OpenAIProvider(
        base_url=f"{url}/v1", api_key="none"
    )
    model = library("pydantic_ai.models.openai").OpenAIChatModel(MODEL, provider=provider)
    for output in (ai.ToolOutput(City), ai.NativeOutput(City)):
        agent = ai.Agent(model, output_type=output, model_settings={"seed": 1, "max_tokens": 300})
        assert isinstance(agent.run_sync(QUESTION).output, City)


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


def test_llm_of_simonw(url: str, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: mill\n  model_name: {MODEL}\n  api_base: {url}/v1\n"
        "  supports_schema: true\n  supports_tools: true\n"
    )

    def llm(*arguments: str) -> str:
        done = subprocess.run(
            (sys.executable, "-m", "llm", *arguments),
            capture_output=True,
            text=True,
            check=True,
            env={"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none", "PATH": ""},
        )
        return done.stdout

    schema = json.dumps({**City.model_json_schema(), "additionalProperties": False})
    City.model_validate_json(llm("-m", "mill", "--schema", schema, QUESTION))
    tool = "def get_time() -> str:\n    'What time it is.'\n    return 'noon'"
    assert llm("-m", "mill", "--functions", tool, "--chain-limit", "2", QUESTION) is not None
