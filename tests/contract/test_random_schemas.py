"""Whatever the weights say, a finished answer follows its schema: both are drawn at random."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest

from headrace.api.json_schema import offences
from tests.contract.test_engine_death import server
from tests.contract.test_structured_output import schema_format
from tests.random_schemas import SchemaMaker
from tests.tiny_folder import write_folder

AT_ONCE = 24
JUDGE = jsonschema.Draft202012Validator
MOST_TOKENS = 2_048


def test_drawn_schemas_lie_in_the_documented_subset() -> None:
    maker = SchemaMaker(1)
    assert [found for _ in range(300) if (found := offences(maker.draw(), "s", strict=True))] == []


@pytest.mark.parametrize(
    "count", [60, pytest.param(1_000, marks=pytest.mark.full)], ids=["some", "many"]
)
def test_every_finished_answer_follows_its_schema(tmp_path: Path, count: int) -> None:
    seed = 20261126
    print(f"seed {seed}")
    folder = write_folder(tmp_path / "random", max_position_embeddings=4_096)
    maker = SchemaMaker(seed)
    schemas = [maker.draw() for _ in range(count)]
    with server(tmp_path / "home", "cpu", folder) as (url, _):
        ends = asyncio.run(_answers(url, folder.name, schemas))
    print(dict(ends))
    assert ends["refused"] <= 0.05 * count, ends
    assert ends["invalid"] == 0, ends
    assert ends["stop"] >= 0.6 * count, ends


async def _answers(url: str, model: str, schemas: list[dict[str, Any]]) -> Counter[str]:
    """How the answers to all `schemas` ended."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600
    ) as api:

        async def end_of(number: int, schema: dict[str, Any]) -> str:
            async with gate:
                try:
                    answer = await api.chat.completions.create(
                        model=model,
                        messages=[{"role": "user", "content": "Answer."}],
                        temperature=1.5,
                        seed=number,
                        max_completion_tokens=MOST_TOKENS,
                        response_format=schema_format(schema),
                    )
                except openai.BadRequestError as refusal:
                    print(f"refused: {refusal.message}: {json.dumps(schema)}")
                    return "refused"
            (choice,) = answer.choices
            if choice.finish_reason != "stop":
                return str(choice.finish_reason)
            try:
                JUDGE(schema, format_checker=JUDGE.FORMAT_CHECKER).validate(
                    json.loads(choice.message.content or "")
                )
            except (ValueError, jsonschema.ValidationError) as broken:
                print(f"invalid: {broken}: {choice.message.content}: {json.dumps(schema)}")
                return "invalid"
            return "stop"

        return Counter(await asyncio.gather(*(end_of(n, s) for n, s in enumerate(schemas))))
