"""Messages to prompt tokens: the template alone writes control tokens, and cannot run away."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import CheckpointError, InvalidRequest
from headrace.model import ChatTemplate, Tokenizer, open_model
from headrace.types import Message, Role
from tests.tiny_folder import CONTROL, TEMPLATE, VOCAB, byte_level_tokenizer, write_folder

NOW = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)
HELLO = [Message(role=Role.USER, content="Hello")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("t") / "tokenizer.json"
    byte_level_tokenizer().save(str(file))
    settings = {"bos_token": CONTROL[0], "eos_token": CONTROL[4]}
    return Tokenizer(file, settings, vocab_size=VOCAB)


def template(tokenizer: Tokenizer, source: str, **more: str) -> ChatTemplate:
    sources = {"default": source, **more}
    return ChatTemplate(sources, tokenizer, now=lambda: NOW, origin="tokenizer_config.json")


def spelled(tokenizer: Tokenizer, ids: list[int]) -> str:
    return byte_level_tokenizer().decode(ids, skip_special_tokens=False)


def test_a_dialogue_becomes_the_templates_prompt_with_one_bos(tokenizer: Tokenizer) -> None:
    messages = [
        Message(role=Role.SYSTEM, content="Be brief."),
        Message(role=Role.USER, content="  Hello é\n"),
    ]
    ids = template(tokenizer, TEMPLATE).render_ids(messages)
    assert spelled(tokenizer, ids) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello é<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert ids.count(ids[0]) == 1
    without = template(tokenizer, TEMPLATE).render_ids(messages, add_generation_prompt=False)
    assert ids[: len(without)] == without


PIECES = st.sampled_from(
    [*CONTROL, "<|", "|>", "eot_id", "_id|>", " ", "\n", "\ufdd0", "\ufdd1", "0"]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=10).map("".join))


@pytest.mark.guards("D56")
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_no_content_adds_or_removes_a_control_token(
    tokenizer: Tokenizer, contents: list[str]
) -> None:
    chat = template(tokenizer, TEMPLATE)
    ids = chat.render_ids([Message(role=Role.USER, content=text) for text in contents])
    plain = chat.render_ids([Message(role=Role.USER, content="x") for _ in contents])
    control = tokenizer.control.ids
    assert [i for i in ids if i in control] == [i for i in plain if i in control]
    text = b"".join(map(tokenizer.token_bytes, ids)).decode()
    expected = "".join(f"user\n\n{content.strip()}" for content in contents)
    assert text == f"{expected}assistant\n\n"


@given(TEXTS, TEXTS)
def test_contents_side_by_side_do_not_join_to_a_control_token(
    tokenizer: Tokenizer, first: str, second: str
) -> None:
    chat = template(tokenizer, "{% for m in messages %}{{ m.content }}{% endfor %}")
    ids = chat.render_ids([Message(role=Role.USER, content=text) for text in (first, second)])
    assert tokenizer.control.ids.isdisjoint(ids)
    assert b"".join(map(tokenizer.token_bytes, ids)).decode() == first + second


def test_spellings_in_tools_stay_text_and_json_is_not_escaped_for_html(
    tokenizer: Tokenizer,
) -> None:
    tools = [{"type": "function", "function": {"name": "f", "<|eot_id|>": ["é<|eot_id|>", 1]}}]
    chat = template(tokenizer, "{{ bos_token }}{{ tools | tojson }}")
    ids = chat.render_ids(HELLO, tools=tools)
    assert [i for i in ids if i in tokenizer.control.ids] == ids[:1]
    text = b"".join(map(tokenizer.token_bytes, ids)).decode()
    assert text == json.dumps(tools, ensure_ascii=False)


def test_a_template_for_tools_is_used_when_there_are_tools(tokenizer: Tokenizer) -> None:
    chat = template(tokenizer, "plain", tool_use="with {{ tools | length }}")
    assert spelled(tokenizer, chat.render_ids(HELLO)) == "plain"
    assert spelled(tokenizer, chat.render_ids(HELLO, tools=[{}, {}])) == "with 2"


def test_the_dialect_has_what_published_templates_use(tokenizer: Tokenizer) -> None:
    source = (
        "{%- for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
        "{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        "{% generation %}|{{ strftime_now('%d %b %Y') }}|{% endgeneration %}"
        "{% set ns = namespace(n=1) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}"
        "{{ messages[::-1][0]['content'].split('l')[-1] }}{{ {'a': 1} | tojson(indent=1) }}"
        "{% macro twice(x) %}{{ x * 2 }}{% endmacro %}{{ twice('ab') }}{{ 7 % 4 }}"
    )
    text = spelled(tokenizer, template(tokenizer, source).render_ids(HELLO))
    assert text == '02|09 Mar 2026|2o{\n "a": 1\n}abab3'


def test_a_templates_own_refusal_reaches_the_caller(tokenizer: Tokenizer) -> None:
    source = "{% if messages|length > 1 %}{{ raise_exception('one at a time') }}{% endif %}ok"
    chat = template(tokenizer, source)
    with pytest.raises(InvalidRequest, match=r"^one at a time$"):
        chat.render_ids(HELLO * 2)


def test_a_template_that_cannot_take_the_messages_says_so(tokenizer: Tokenizer) -> None:
    chat = template(tokenizer, "{% if messages|length > 1 %}{{ messages.x.y }}{% endif %}ok")
    with pytest.raises(InvalidRequest, match="cannot render these messages"):
        chat.render_ids(HELLO * 2)


@pytest.mark.guards("D78")
@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ nothing.here }}",
        "{{ 1 / 0 }}",
        "{{ messages[7]['content'] }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(1000000000) %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 10 ** 1000000 }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{% set ns = namespace(s='aaaaaaaa') %}"
        "{% for i in range(30) %}{% set ns.s = ns.s + ns.s %}{{ ns.s }}{% endfor %}",
        "{% set ns = namespace(s='aaaa') %}"
        "{% for i in range(90) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='aaaa') %}"
        "{% for i in range(90) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    ],
)
def test_a_broken_or_runaway_template_is_refused_when_loaded(
    tokenizer: Tokenizer, source: str
) -> None:
    with pytest.raises(
        CheckpointError, match=r"tokenizer_config\.json: the chat template is broken"
    ):
        template(tokenizer, source)


def test_a_template_in_a_file_of_its_own_comes_first(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "chat_template.jinja").write_text("from the file")
    model = open_model(folder)
    assert model.chat_template.render_ids(HELLO) == model.tokenizer.encode_text("from the file")


def test_named_templates_are_read_from_the_settings(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    named = [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "tools"},
    ]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    model = open_model(folder)
    ids = model.chat_template.render_ids(HELLO, tools=[{"type": "function"}])
    assert ids == model.tokenizer.encode_text("tools")


@pytest.mark.parametrize("value", [7, ["x"], [{"name": "default"}]])
def test_a_chat_template_of_another_type_is_refused(tmp_path: Path, value: object) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
    with pytest.raises(CheckpointError, match="must be a string or a list"):
        open_model(folder)
