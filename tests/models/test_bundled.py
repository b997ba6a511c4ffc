import json
import struct
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from mini.dialogue import Dialogue, Message
from mini.template import BEGIN, CHAT_TEMPLATE, SPECIALS

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "src" / "headrace" / "model" / "bundled"
FOLDER = BUNDLED / "headrace-mini"
LIMIT = 16 * 1024 * 1024  # bytes


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(load("tokenizer_config.json")["chat_template"])
    return template.render(
        messages=messages, tools=tools, bos_token=BEGIN, add_generation_prompt=True
    )


def test_package_data_stays_small() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) <= LIMIT


def test_config_is_the_shape_that_the_card_promises() -> None:
    config = load("config.json")
    promised = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "intermediate_size": 768,
        "vocab_size": 4096,
        "tie_word_embeddings": True,
        "max_position_embeddings": 2048,
        "torch_dtype": "bfloat16",
    }
    assert {key: config[key] for key in promised} == promised


def test_weights_are_bf16_with_the_names_and_shapes_of_a_llama() -> None:
    with (FOLDER / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    assert len(header) == 2 + 6 * 9
    assert header["model.embed_tokens.weight"]["shape"] == [4096, 256]
    assert header["model.layers.5.self_attn.k_proj.weight"]["shape"] == [128, 256]
    assert header["model.layers.0.mlp.down_proj.weight"]["shape"] == [256, 768]
    assert "lm_head.weight" not in header


def test_vocabulary_is_4096_tokens_with_the_specials_last(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == 4096
    assert [tokenizer.token_to_id(text) for text in SPECIALS] == list(range(4080, 4096))
    config = load("config.json")
    ends = [tokenizer.token_to_id("<|eot_id|>"), tokenizer.token_to_id("<|end_of_text|>")]
    assert load("generation_config.json")["eos_token_id"] == ends == config["eos_token_id"]
    assert config["bos_token_id"] == tokenizer.token_to_id(BEGIN)


@pytest.mark.parametrize(
    "text",
    [
        "plain words, 12345 and  two spaces\n\n\ttabs ",
        "naïve Żółć 東京 😀👩‍👩‍👧 \u0000\u200b\ufeff é e\u0301",
        "don't I'LL 'tis x's",
        "  leading and trailing  \r\n",
        "".join(chr(code) for code in range(1, 0x250)),
    ],
)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert max(ids) < 4080
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_digits_stand_alone_and_nothing_is_added(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("2026").tokens == ["2", "0", "2", "6"]
    assert tokenizer.encode("").ids == []


def test_shipped_template_is_the_one_trained_with() -> None:
    assert load("tokenizer_config.json")["chat_template"] == CHAT_TEMPLATE


def test_template_renders_as_the_training_data_was_written() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": schema}}
    call = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
    told = Dialogue(
        "tool",
        [Message("user", "Weather's < & > in Paris?"), Message("assistant", call),
         Message("tool", '{"n": 3}'), Message("assistant", "3 degrees.")],
        system="Be brief.", tools=[tool],
    )  # fmt: skip
    want = "".join(text for text, _ in told.segments())
    made = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    got = render(
        [
            {"role": "system", "content": " Be brief. "},
            {"role": "user", "content": "Weather's < & > in Paris?\n"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": made}]},
            {"role": "tool", "tool_call_id": "1", "content": '{"n": 3}'},
            {"role": "assistant", "content": "3 degrees."},
        ],
        tools=[tool],
    )
    assert got == want + "<|start_header_id|>assistant<|end_header_id|>\n\n"
