"""A whole folder opened: names, stop tokens, defaults."""

import json
from pathlib import Path

import pytest

from headrace.errors import CheckpointError, InvalidRequest
from headrace.model import ChatTemplate, open_model
from headrace.model.json_calls import HERMES
from headrace.types import Message, Role, SamplingParams
from tests.harmony_folder import script_of, today, write_harmony_folder
from tests.tiny_folder import CONTROL, byte_level_tokenizer, write_folder


def test_a_folder_gives_its_name_program_and_defaults(tmp_path: Path) -> None:
    model = open_model(write_folder(tmp_path / "tiny-model"))
    assert model.name == "tiny-model"
    assert model.program.vocab_size == 300
    assert set(model.weights) == set(model.program.weights())
    assert model.stop_ids == (264, 267)
    assert model.default_sampling == SamplingParams(temperature=0.6, top_p=0.9)
    assert model.created_unix > 1_600_000_000


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        (7, {}, (7,)),
        ([7, 9, 7], {}, (7, 9)),
        (7, {"eos_token_id": 8}, (8,)),
        (7, {"eos_token_id": None}, (7,)),
        (None, {}, ()),
    ],
)
def test_stop_ids_come_from_the_generation_settings_else_the_config(
    tmp_path: Path, config: object, generation: dict[str, object], expected: tuple[int, ...]
) -> None:
    folder = write_folder(tmp_path / "m", eos_token_id=config)
    (folder / "generation_config.json").write_text(json.dumps(generation))
    assert open_model(folder).stop_ids == expected


@pytest.mark.parametrize(
    "generation",
    [
        {"eos_token_id": 300},
        {"eos_token_id": [-1]},
        {"eos_token_id": "x"},
        {"eos_token_id": True},
        {"temperature": -1},
        {"temperature": "hot"},
        {"top_p": 1.5},
        {"top_k": False},
    ],
)
def test_bad_generation_settings_are_refused_naming_the_key(
    tmp_path: Path, generation: dict[str, object]
) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "generation_config.json").write_text(json.dumps(generation))
    with pytest.raises(
        CheckpointError, match=f"generation_config.json: '{next(iter(generation))}'"
    ):
        open_model(folder)


def test_a_model_without_a_template_opens_and_refuses_messages(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "tokenizer_config.json").unlink()
    (folder / "generation_config.json").unlink()
    model = open_model(folder)
    with pytest.raises(InvalidRequest, match="no chat template"):
        model.chat_template.render_ids([Message(role=Role.USER, content="Hello")])


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", vocab_size=262)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json has token id 262"):
        open_model(folder)


def test_an_added_token_beyond_the_vocabulary_opens_and_is_refused_in_prompts(
    tmp_path: Path,
) -> None:
    folder = write_folder(tmp_path / "m", vocab_size=268)
    fast = byte_level_tokenizer(control=(*CONTROL, "<image_soft_token>"))
    fast.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = (
        "{%- for message in messages %}{{- message['content'] }}"
        "{%- if 'picture' in message['content'] %}{{- '<image_soft_token>' }}{%- endif %}"
        "{%- endfor %}"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    render = open_model(folder).chat_template.render_ids
    spelled = render([Message(role=Role.USER, content="an <image_soft_token>")])
    assert max(spelled) < 268
    with pytest.raises(InvalidRequest, match="no token '<image_soft_token>'"):
        render([Message(role=Role.USER, content="a picture")])


def test_a_gpt_oss_is_spoken_to_in_harmony(tmp_path: Path) -> None:
    model = open_model(write_harmony_folder(tmp_path / "m"), now=today)
    ids = model.chat_template.render_ids([Message(role=Role.USER, content="Hi")])
    script = script_of(model.tokenizer, ids)
    assert script.startswith("<|start|>system<|message|>You are ChatGPT")
    assert script.endswith("<|start|>user<|message|>Hi<|end|><|start|>assistant")
    assert model.answers.thinks
    spelled = {model.tokenizer.control.spelling(i) for i in model.stop_ids}
    assert spelled == {"<|return|>", "<|call|>", "<|endoftext|>"}


def test_a_gpt_oss_takes_no_other_tool_format(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="harmony, not as 'hermes'"):
        open_model(write_harmony_folder(tmp_path / "m"), tool_format=HERMES)


def test_a_gpt_oss_with_another_vocabulary_speaks_as_its_template_does(tmp_path: Path) -> None:
    model = open_model(write_folder(tmp_path / "m", model_type="gpt_oss"))
    assert isinstance(model.chat_template, ChatTemplate)
    assert not model.answers.thinks
