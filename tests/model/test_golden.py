"""Our programs, tokens and prompts against transformers, on the golden cases."""

import json
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.reference import ReferenceBackend
from headrace.model import LanguageModel, open_model
from headrace.model.config_json import ConfigJson
from headrace.model.registry import builders
from headrace.model.rotary import rotation
from headrace.types import Message, Role
from tests.golden_cases import (
    CASES,
    GOLDEN,
    GoldenCase,
    config_of,
    load_case,
    open_case,
    relative_error,
)
from tests.tiny_llama import rows_batch, scrambled_tables

# Both sides hold float32 and differ in the order of their sums only; 3e-6 is what was seen.
FLOAT32_TOLERANCE = 1e-4


def reference(case: GoldenCase, model: LanguageModel, *, round_kv: bool) -> ReferenceBackend:
    num_tokens = len(case.prompt) + len(case.greedy)
    num_blocks = -(-num_tokens // BLOCK_TOKENS) + 3
    return ReferenceBackend(model.program, model.weights, num_blocks=num_blocks, round_kv=round_kv)


def tables(case: GoldenCase, backend: ReferenceBackend) -> np.ndarray:
    return scrambled_tables(1, len(case.prompt) + len(case.greedy), backend.num_blocks)


def test_every_family_has_a_case_and_every_case_its_golden_file() -> None:
    judged = {name for case in CASES for name in config_of(case)["architectures"]}
    assert judged == set(builders())
    assert tuple(sorted(file.parent.name for file in GOLDEN.glob("*/case.json"))) == CASES


@pytest.mark.parametrize("name", CASES)
def test_logits_and_hidden_states_equal_transformers(name: str) -> None:
    case = load_case(name)
    model = open_case(case)
    backend = reference(case, model, round_kv=False)
    layers = tuple(range(len(case.hidden)))
    batch = rows_batch({0: (0, case.prompt.tolist())}, tables(case, backend), taps=layers)
    result = backend.step(batch)
    assert result.logits is not None
    assert result.hidden is not None
    for layer in layers:
        assert relative_error(result.hidden[layer], case.hidden[layer]) < FLOAT32_TOLERANCE
    assert relative_error(result.logits, case.logits) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("chunk", [1, 16, 23])
@pytest.mark.parametrize("name", CASES)
def test_a_prompt_in_chunks_gives_the_same_logits(name: str, chunk: int) -> None:
    case = load_case(name)
    model = open_case(case)
    backend = reference(case, model, round_kv=False)
    slots = tables(case, backend)
    prompt = case.prompt.tolist()
    for start in range(0, len(prompt), chunk):
        piece = prompt[start : start + chunk]
        logits = backend.step(rows_batch({0: (start, piece)}, slots)).logits
        assert logits is not None
        expected = case.logits[start : start + len(piece)]
        assert relative_error(logits, expected) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens_equal_transformers_with_the_cache_in_bf16(name: str) -> None:
    case = load_case(name)
    model = open_case(case)
    backend = reference(case, model, round_kv=True)
    slots = tables(case, backend)
    result = backend.step(rows_batch({0: (0, case.prompt.tolist())}, slots))
    found = [int(result.token_ids[-1])]
    while len(found) < len(case.greedy):
        position = len(case.prompt) + len(found) - 1
        result = backend.step(rows_batch({0: (position, found[-1:])}, slots))
        found.append(int(result.token_ids[0]))
    assert found == case.greedy.tolist()


ROPES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "rope.json").read_text())


@pytest.mark.parametrize("name", ROPES)
def test_rotations_of_published_models_equal_transformers(name: str) -> None:
    old = ROPES[name]["config"]
    scaling = {**old["rope_scaling"], "rope_theta": old["rope_theta"]}
    scaling["rope_type"] = scaling.pop("type", scaling.get("rope_type"))
    new = {key: value for key, value in old.items() if not key.startswith("rope")}
    new["rope_parameters"] = scaling
    with np.load(GOLDEN / "rope.npz") as arrays:
        expected, scale = arrays[name], float(arrays[f"{name}_scale"])
    for values in (old, new):
        config = ConfigJson(values, context=ROPES[name].get("context"))
        found = rotation(config, ROPES[name]["head_dim"], partial=True)
        assert found.scale == pytest.approx(scale, rel=1e-15)
        # Powers may round another way; all else is the same float32 arithmetic.
        frequencies = np.array(found.frequencies, np.float32)
        np.testing.assert_array_max_ulp(frequencies, expected, maxulp=1)
        assert (frequencies == expected).mean() > 0.95


CHAT_CASES = [name for name in CASES if (GOLDEN / name / "chat.json").exists()]


@pytest.mark.parametrize("name", CHAT_CASES)
def test_prompts_equal_transformers(name: str) -> None:
    golden: dict[str, Any] = json.loads((GOLDEN / name / "chat.json").read_text())
    day = datetime.fromisoformat(golden["day"])
    model = open_model(GOLDEN / name, now=lambda: day)
    assert len(golden["prompts"]) >= 5
    for prompt in golden["prompts"]:
        ids = model.chat_template.render_ids(
            [Message(role=Role(role), content=text) for role, text in prompt["messages"]],
            tools=prompt["tools"],
            add_generation_prompt=prompt["add_generation_prompt"],
        )
        assert ids == prompt["ids"], prompt["messages"]


@pytest.mark.parametrize("name", CASES)
def test_the_golden_files_are_what_transformers_computes_here(name: str) -> None:
    reason = "torch and transformers are not installed; the stored golden files stand for them"
    torch = pytest.importorskip("torch", reason=reason)
    transformers = pytest.importorskip("transformers", reason=reason)
    case = load_case(name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        case.path,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
    ).eval()
    prompt = torch.tensor(case.prompt.astype(np.int64))[None]
    with torch.no_grad():
        logits = model(prompt).logits[0].numpy()
        tokens = model.generate(
            prompt, max_new_tokens=len(case.greedy), do_sample=False, eos_token_id=-1
        )
    assert relative_error(logits, case.logits) < FLOAT32_TOLERANCE
    assert tokens[0, prompt.shape[1] :].tolist() == case.greedy.tolist()
