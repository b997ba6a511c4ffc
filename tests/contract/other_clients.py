"""Drives a server through a library that people use instead of the official client.

    python -m tests.contract.other_clients NAME ORIGIN

Each does a structured and a tool round trip, and fails with an exception. They run in processes of
their own: some leave sockets and loops open.
"""

import json
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import openai
from pydantic import BaseModel

from headrace.model import bundled_model, open_model
from tests.contract.test_structured_output import TOOLS, schema_format

MODEL = open_model(bundled_model()).name
QUESTION = "What is the weather in Rome?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


class City(BaseModel):
    """A city and its country."""

    name: str
    country: str


def groq(url: str) -> None:
    with import_module("groq").Groq(base_url=url, api_key="none", max_retries=0) as client:
        create: Any = client.chat.completions.create
        asked = {"model": MODEL, "messages": MESSAGES, "seed": 1, "max_completion_tokens": 300}
        schema = {**City.model_json_schema(), "additionalProperties": False}
        answer = create(**asked, response_format=schema_format(schema))
        City.model_validate_json(answer.choices[0].message.content)
        called = create(**asked, tools=TOOLS, tool_choice="required")
        assert called.choices[0].message.tool_calls


def langchain(url: str) -> None:
    model = import_module("langchain_openai").ChatOpenAI(
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


def litellm(url: str) -> None:
    library: Any = import_module("litellm")
    asked: dict[str, Any] = {
        "model": f"openai/{MODEL}",
        "api_base": f"{url}/v1",
        "api_key": "none",
        "messages": MESSAGES,
        "seed": 1,
        "max_tokens": 300,
    }
    answer: Any = library.completion(**asked, response_format=City)
    City.model_validate_json(answer.choices[0].message.content)
    called: Any = library.completion(**asked, tools=TOOLS, tool_choice="required")
    assert called.choices[0].finish_reason == "tool_calls"


def instructor(url: str) -> None:
    library: Any = import_module("instructor")
    raw = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    for mode in (library.Mode.TOOLS, library.Mode.JSON_SCHEMA):
        client: Any = library.from_openai(raw, mode=mode)
        city = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, response_model=City, seed=1, max_tokens=300
        )
        assert isinstance(city, City)


def pydantic_ai(url: str) -> None:
    ai: Any = import_module("pydantic_ai")
    provider = import_module("pydantic_ai.providers.openai").OpenAIProvider(
        base_url=f"{url}/v1", api_key="none"
    )
    model = import_module("pydantic_ai.models.openai").OpenAIChatModel(MODEL, provider=provider)
    for output in (ai.ToolOutput(City), ai.NativeOutput(City)):
        agent = ai.Agent(model, output_type=output, model_settings={"seed": 1, "max_tokens": 300})
        assert isinstance(agent.run_sync(QUESTION).output, City)


def llm_of_simonw(url: str) -> None:
    home = Path(tempfile.mkdtemp())
    (home / "extra-openai-models.yaml").write_text(
        f"- model_id: mill\n  model_name: {MODEL}\n  api_base: {url}/v1\n"
        "  supports_schema: true\n  supports_tools: true\n"
    )

    def llm(*arguments: str) -> tuple[str, str]:
        done = subprocess.run(
            (sys.executable, "-m", "llm", *arguments),
            capture_output=True,
            text=True,
            check=True,
            env={"LLM_USER_PATH": str(home), "OPENAI_API_KEY": "none", "PATH": ""},
        )
        return done.stdout, done.stderr

    schema = json.dumps({**City.model_json_schema(), "additionalProperties": False})
    City.model_validate_json(llm("-m", "mill", "--schema", schema, QUESTION)[0])
    tool = (
        "def get_weather(city: str) -> str:\n    'The weather in a city.'\n    return '21 degrees'"
    )
    said, steps = llm("-m", "mill", "--functions", tool, "--tools-debug", QUESTION)
    assert "Tool call: get_weather" in steps
    assert "21" in said


LIBRARIES = {
    library.__name__: library
    for library in (groq, langchain, litellm, instructor, pydantic_ai, llm_of_simonw)
}

if __name__ == "__main__":
    LIBRARIES[sys.argv[1]](sys.argv[2])
