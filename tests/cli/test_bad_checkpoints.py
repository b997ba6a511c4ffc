"""A folder that is no model ends `headrace serve` with one sentence that names the culprit.

No trace, nothing on standard output, a status that says so, and no waiting: not for a pipe, not for
ten terabytes that a header promises.
"""

import copy
import itertools
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.cli.main import run
from headrace.errors import CheckpointError
from headrace.model import open_model
from tests.tiny_folder import write_folder, write_safetensors
from tests.tiny_llama import random_weights, tiny_program

Break = Callable[[Path], object]

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER, SETTINGS, GENERATION = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
)
QUERY = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"
TABLE = "model.embed_tokens.weight"
IN_S = 10  # a refusal takes no longer; a bound on failing, far above what it takes


def config(**changes: object) -> Break:
    return lambda f: rewrite(f / CONFIG, **changes)


def rewrite(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def without(file: Path, key: str) -> None:
    values = json.loads(file.read_text())
    del values[key]
    file.write_text(json.dumps(values))


def text(name: str, content: str | bytes) -> Break:
    raw = content.encode() if isinstance(content, str) else content
    return lambda f: (f / name).write_bytes(raw)


def cut(name: str, share: float) -> Break:
    return lambda f: os.truncate(f / name, int((f / name).stat().st_size * share))


def gone(name: str) -> Break:
    return lambda f: (f / name).unlink()


def instead(name: str, make: Break) -> Break:
    """`make` puts something else where `name` was."""

    def replace(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return replace


def linked(target: str) -> Break:
    return lambda path: path.symlink_to(target)


def sparse(size: int) -> Break:
    """A file of `size` bytes that takes no room on the disk."""

    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def header(entries: object, *, data: int = 0, length: int | None = None) -> Break:
    """A weight file with this header, then `data` bytes (sparse); `length`: what it says it has."""

    def make(folder: Path) -> None:
        spelled = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
        told = len(spelled) if length is None else length
        (folder / WEIGHTS).write_bytes(told.to_bytes(8, "little") + spelled)
        os.truncate(folder / WEIGHTS, 8 + len(spelled) + data)

    return make


def entry(begin: int, end: int, *, dtype: str = "BF16", shape: tuple[int, ...] = (4,)) -> object:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def stored(name: str, dtype: str, kind: type[np.generic], *, cut_rows: int = 0) -> Break:
    """The weights, with tensor `name` as `dtype`, or shorter."""

    def make(folder: Path) -> None:
        program = tiny_program(**json.loads((folder / CONFIG).read_text()))
        tensors: dict[str, tuple[str, NDArray[Any]]] = {
            n: ("BF16", bits) for n, bits in random_weights(program).items()
        }
        shape = program.weights()[name].shape
        tensors[name] = (dtype, np.zeros((shape[0] - cut_rows, *shape[1:]), kind))
        write_safetensors(folder / WEIGHTS, tensors)

    return make


def lacking(name: str) -> Break:
    def make(folder: Path) -> None:
        program = tiny_program(**json.loads((folder / CONFIG).read_text()))
        tensors = {n: ("BF16", bits) for n, bits in random_weights(program).items() if n != name}
        write_safetensors(folder / WEIGHTS, tensors)

    return make


def shards(change: Callable[[dict[str, object]], object]) -> Break:
    """The folder in two shards, with the index's map changed."""

    def make(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        write_folder(folder, shards=2)
        index = json.loads((folder / INDEX).read_text())
        change(index["weight_map"])
        (folder / INDEX).write_text(json.dumps(index))

    return make


def spoiled(make: Break, spoil: Break) -> Break:
    return lambda f: (make(f), spoil(f))


def vocabulary(folder: Path) -> None:
    values = json.loads((folder / TOKENIZER).read_text())
    values["model"]["vocab"]["far"] = 1 << 20
    (folder / TOKENIZER).write_text(json.dumps(values))


def normalized(normalizer: object) -> Break:
    return lambda f: rewrite(f / TOKENIZER, normalizer=normalizer)


def template(source: str) -> Break:
    return lambda f: rewrite(f / SETTINGS, chat_template=source)


def pickled(name: str) -> Break:
    def make(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / name).write_bytes(pickle.dumps({"w": [1.0] * 99}))

    return make


def move_away(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")


def become_a_file(folder: Path) -> None:
    move_away(folder)
    folder.write_text("a model, once")


NEITHER = "is not a whole safetensors file"

# what is wrong -> how it got so, and words of the sentence
CASES: dict[str, tuple[Break, tuple[str, ...]]] = {
    # the folder
    "no folder": (move_away, ("m is not a folder",)),
    "a file": (become_a_file, ("m is not a folder",)),
    "a link to itself": (spoiled(move_away, linked("m")), ("m is not a folder",)),
    "an empty folder": (spoiled(move_away, Path.mkdir), (CONFIG, "missing")),
    # config.json
    "no config": (gone(CONFIG), (CONFIG, "missing")),
    "config of nothing": (text(CONFIG, ""), (CONFIG, "JSON")),
    "config not JSON": (text(CONFIG, "hidden_size: 48"), (CONFIG, "JSON")),
    "config a list": (text(CONFIG, "[1, 2]"), (CONFIG, "object")),
    "config cut": (cut(CONFIG, 0.5), (CONFIG, "JSON")),
    "config in UTF-16": (text(CONFIG, "{}".encode("utf-16")), (CONFIG, "cannot be read")),
    "config too deep": (text(CONFIG, '{"a":' * 100_000), (CONFIG, "JSON")),
    "config with a long number": (text(CONFIG, '{"a":' + "9" * 5_000 + "}"), (CONFIG, "JSON")),
    "config of a gigabyte": (instead(CONFIG, sparse(1 << 30)), (CONFIG, "1,073,741,824 bytes")),
    "config a pipe": (instead(CONFIG, os.mkfifo), (CONFIG, "not a file")),
    "config a folder": (instead(CONFIG, Path.mkdir), (CONFIG, "not a file")),
    "config a device": (instead(CONFIG, linked("/dev/zero")), (CONFIG, "not a file")),
    "config linked to itself": (instead(CONFIG, linked(CONFIG)), (CONFIG, "cannot be read")),
    "config linked to nothing": (instead(CONFIG, linked("nothing")), (CONFIG, "missing")),
    "config unreadable": (instead(CONFIG, linked("/proc/self/mem")), (CONFIG, "cannot be read")),
    # what it says
    "unknown architecture": (
        config(architectures=["EvilForCausalLM"]),
        (CONFIG, "EvilForCausalLM", "LlamaForCausalLM", "Qwen3ForCausalLM"),
    ),
    "no architecture": (lambda f: without(f / CONFIG, "architectures"), (CONFIG, "architecture")),
    "architecture of a novel": (config(architectures="word\n" * 99_999), (CONFIG, "architecture")),
    "sizes beyond sense": (config(hidden_size=1 << 40), (CONFIG, "hidden_size")),
    "a billion layers": (config(num_hidden_layers=10**9), (CONFIG, "num_hidden_layers")),
    "layers below zero": (config(num_hidden_layers=-2), (CONFIG, "num_hidden_layers")),
    "a size missing": (lambda f: without(f / CONFIG, "hidden_size"), (CONFIG, "hidden_size")),
    "a size with a fraction": (config(intermediate_size=80.5), (CONFIG, "intermediate_size")),
    "a size in words": (config(vocab_size="many\n" * 99_999), (CONFIG, "vocab_size")),
    "no number": (config(rms_norm_eps=float("nan")), (CONFIG, "rms_norm_eps", "nan")),
    "endless context": (config(max_position_embeddings=float("inf")), (CONFIG, "max_position")),
    "turns without end": (config(rope_theta=float("inf")), (CONFIG, "rope_theta")),
    "heads that do not share": (config(num_key_value_heads=4), (CONFIG, "heads")),
    "sizes the weights have not": (config(hidden_size=64), (QUERY[:5], WEIGHTS, CONFIG)),
    "layers the weights have not": (config(num_hidden_layers=4_096), ("layers.2", "missing")),
    # the weights
    "no weights": (gone(WEIGHTS), (WEIGHTS, "missing")),
    "weights of nothing": (text(WEIGHTS, b""), (WEIGHTS, NEITHER)),
    "weights cut in the header": (cut(WEIGHTS, 0.01), (WEIGHTS, NEITHER)),
    "weights cut": (cut(WEIGHTS, 0.9), (WEIGHTS, NEITHER)),
    "header beyond the file": (header({}, length=1 << 30), (WEIGHTS, NEITHER)),
    "header beyond all files": (header({}, length=(1 << 64) - 1), (WEIGHTS, NEITHER)),
    "header of a gigabyte": (
        header({}, length=1 << 30, data=1 << 31),
        (WEIGHTS, "header of 1,073,741,824 bytes"),
    ),
    "header not JSON": (header(b"{'a': 1}"), (WEIGHTS, NEITHER)),
    "header a list": (header([1]), (WEIGHTS, NEITHER)),
    "header too deep": (header(b'{"a":' * 100_000), (WEIGHTS, NEITHER)),
    "header of other things": (header({"a": {"dtype": 7}}), (WEIGHTS, NEITHER)),
    "tensors overlap": (header({"a": entry(0, 8), "b": entry(4, 12)}, data=12), (WEIGHTS, NEITHER)),
    "tensors beyond the file": (header({"a": entry(0, 8)}), (WEIGHTS, NEITHER)),
    "tensors before the file": (header({"a": entry(-8, 0)}), (WEIGHTS, NEITHER)),
    "a hole": (header({"a": entry(8, 16)}, data=16), (WEIGHTS, NEITHER)),
    "a shape of other bytes": (
        header({"a": entry(0, 8, shape=(1 << 32, 1 << 32))}, data=8),
        (WEIGHTS, NEITHER),
    ),
    "ten terabytes promised": (
        header({QUERY: entry(0, 10 << 40, shape=(5 << 40,))}, data=1 << 20),
        (WEIGHTS, NEITHER),
    ),
    "ten terabytes kept": (
        header({TABLE: entry(0, 10 << 40, shape=(5 << 40,))}, data=10 << 40),
        (CONFIG, WEIGHTS),
    ),
    "one tensor twice": (
        header(b'{"a":%b,"a":%b}' % ((json.dumps(entry(0, 8)).encode(),) * 2), data=8),
        (WEIGHTS, "'a'", "twice"),
    ),
    "weights a pipe": (instead(WEIGHTS, os.mkfifo), (WEIGHTS, "not a file")),
    "weights a folder": (instead(WEIGHTS, Path.mkdir), (WEIGHTS, "not a file")),
    "weights a device": (instead(WEIGHTS, linked("/dev/zero")), (WEIGHTS, "not a file")),
    "weights linked to themselves": (instead(WEIGHTS, linked(WEIGHTS)), (WEIGHTS,)),
    "eight-bit floats": (stored(QUERY, "F8_E4M3", np.uint8), (QUERY, WEIGHTS, "F8_E4M3")),
    "eight-bit integers": (stored(QUERY, "I8", np.int8), (QUERY, WEIGHTS, "I8")),
    "64-bit floats": (stored(QUERY, "F64", np.float64), (QUERY, WEIGHTS, "F64")),
    "32-bit floats": (stored(QUERY, "F32", np.float32), (QUERY, WEIGHTS, "F32")),
    "a tensor missing": (lacking(NORM), (NORM, "missing")),
    "a tensor too short": (stored(NORM, "BF16", np.uint16, cut_rows=1), (NORM, WEIGHTS, "[47]")),
    # code in the weights' place
    "pickled weights": (pickled("pytorch_model.bin"), ("pytorch_model.bin", "safetensors")),
    "a pickled state": (pickled("consolidated.00.pth"), ("consolidated.00.pth", "safetensors")),
    "pickle by another name": (pickled(WEIGHTS), (WEIGHTS, NEITHER)),
    # the index
    "index not JSON": (spoiled(shards(lambda m: None), text(INDEX, "{")), (INDEX, "JSON")),
    "index of nothing": (shards(lambda m: m.clear()), (INDEX, "weight_map")),
    "index a pipe": (instead(INDEX, os.mkfifo), (INDEX, "not a file")),
    "a shard missing": (
        spoiled(shards(lambda m: None), gone("model-00002-of-00002.safetensors")),
        ("model-00002-of-00002.safetensors",),
    ),
    "a shard next door": (shards(lambda m: m.update({NORM: "../x"})), (INDEX, "../x")),
    "a shard at the root": (shards(lambda m: m.update({NORM: "/etc/passwd"})), (INDEX, NORM)),
    "a shard that is a number": (shards(lambda m: m.update({NORM: 7})), (INDEX, NORM)),
    "a shard beyond names": (shards(lambda m: m.update({NORM: "a\0b"})), ("a\\x00b",)),
    "a shard with a long name": (shards(lambda m: m.update({NORM: "a" * 9_999})), ("aaaa",)),
    "a shard that is the folder": (shards(lambda m: m.update({NORM: ".."})), (INDEX, NORM)),
    "a tensor its shard has not": (
        shards(lambda m: m.update({"lost": "model-00001-of-00002.safetensors"})),
        ("'lost'", INDEX),
    ),
    "a tensor with a line in its name": (
        shards(lambda m: m.update({"lo\nst": "model-00001-of-00002.safetensors"})),
        ("st'", INDEX),
    ),
    # the tokenizer
    "no tokenizer": (gone(TOKENIZER), (TOKENIZER, "missing")),
    "tokenizer of nothing": (text(TOKENIZER, ""), (TOKENIZER, "read")),
    "tokenizer cut": (cut(TOKENIZER, 0.7), (TOKENIZER, "read")),
    "tokenizer of other JSON": (
        text(TOKENIZER, '{"model": {"type": "Evil"}}'),
        (TOKENIZER, "read"),
    ),
    "tokenizer that panics": (
        normalized({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        (TOKENIZER, "read"),
    ),
    "tokenizer that panics on text": (
        normalized({"type": "Replace", "pattern": {"String": ""}, "content": "x" * 999}),
        (TOKENIZER, "fails on a text"),
    ),
    "tokenizer too deep": (text(TOKENIZER, '{"a":' * 100_000), (TOKENIZER, "read")),
    "tokenizer too large": (vocabulary, (TOKENIZER, "1048576", "299")),
    "tokenizer a pipe": (instead(TOKENIZER, os.mkfifo), (TOKENIZER, "not a file")),
    "tokenizer of a gigabyte": (instead(TOKENIZER, sparse(1 << 30)), (TOKENIZER, "bytes")),
    "a control token like text": (
        lambda f: rewrite(f / SETTINGS, eos_token="a"),
        (TOKENIZER, "control token 'a'"),
    ),
    "tokenizer settings a list": (text(SETTINGS, "[]"), (SETTINGS, "object")),
    # the chat template
    "template broken": (template("{% for %}"), (SETTINGS, "template")),
    "template endless": (
        template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        (SETTINGS, "template"),
    ),
    "template slow": (
        template("{% for i in range(99999) %}{% set x = messages * 99999 %}{% endfor %}"),
        (SETTINGS, "template"),
    ),
    "template of memory": (
        template("{{ ('a' * 99999).replace('a', 'b' * 99999) | length }}"),
        (SETTINGS, "template"),
    ),
    "template of lists": (
        template(
            "{% set ns = namespace(x=[1]) %}"
            "{% for i in range(50) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"
        ),
        (SETTINGS, "template"),
    ),
    "template of text in lists": (
        template("{{ ((['a' * 99999] * 99999) | join) | length }}"),
        (SETTINGS, "template"),
    ),
    "template of lists in lists": (
        template(
            "{% set ns = namespace(x='a') %}"
            "{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}"
        ),
        (SETTINGS, "template"),
    ),
    "template of objects in calls": (
        template(
            "{% set ns = namespace(x='a') %}"
            "{% for i in range(40) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}"
        ),
        (SETTINGS, "template"),
    ),
    "template of arguments": (
        template(
            "{% macro f(n) %}{{ f(n - 1, varargs, varargs) if n else varargs }}{% endmacro %}"
            "{{ f(40, 'a', 'a') }}"
        ),
        (SETTINGS, "template"),
    ),
    "template breaks out": (
        template("{{ cycler.__init__.__globals__.os.system('true') }}"),
        (SETTINGS, "template"),
    ),
    "template a pipe": (lambda f: os.mkfifo(f / "chat_template.jinja"), (".jinja", "not a file")),
    "template not text": (text("chat_template.jinja", b"\xff\xfe"), (".jinja", "cannot be read")),
    # how to generate
    "generation broken": (text(GENERATION, "{"), (GENERATION, "JSON")),
    "generation of odd numbers": (
        lambda f: rewrite(f / GENERATION, temperature=float("nan")),
        (GENERATION, "temperature"),
    ),
    "a stop token outside": (
        lambda f: rewrite(f / GENERATION, eos_token_id=300),
        (GENERATION, "eos_token_id"),
    ),
}

# what could hang or end a process: seen from outside, with the default backend
OUTSIDE = (
    "no folder",
    "config a pipe",
    "config of a gigabyte",
    "weights a pipe",
    "weights cut",
    "ten terabytes kept",
    "pickle by another name",
    "tokenizer that panics",
    "template slow",
)


def broken(tmp_path: Path, case: str) -> Path:
    folder = write_folder(tmp_path / "m")
    CASES[case][0](folder)
    return folder


def assert_one_sentence(case: str, status: int, out: str, err: str) -> None:
    assert status == 2
    assert out == ""
    assert err.startswith("headrace: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err[:2_000]
    assert len(err) < 1_000
    assert "Traceback" not in err
    assert all(word in err for word in CASES[case][1]), err


def test_the_folder_that_is_broken_below_is_a_model(tmp_path: Path) -> None:
    assert open_model(write_folder(tmp_path / "m")).name == "m"
    assert open_model(write_folder(tmp_path / "n", shards=2)).name == "n"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, but the vocabulary's."""
    yield path
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in itertools.islice(pairs, 40):
            yield from places(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: object) -> Any:
    if not path:
        return new
    copied = copy.copy(value)
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied


ODD = [None, True, -1, 0, 3.5, float("nan"), 1 << 31, 1 << 70, "", "a", "\n", [], {}, [None], [[]]]


@given(name=st.sampled_from([CONFIG, GENERATION, SETTINGS, TOKENIZER]), data=st.data())
def test_a_changed_value_is_refused_by_name_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed"
    if not folder.exists():
        write_folder(folder)
    whole = (folder / name).read_text()
    value = json.loads(whole)
    path = data.draw(st.sampled_from(list(places(value))))
    (folder / name).write_text(json.dumps(changed(value, path, data.draw(st.sampled_from(ODD)))))
    try:
        open_model(folder)
    except CheckpointError as exc:
        assert str(folder) in str(exc)  # noqa: PT017 (either end is right)
    finally:
        (folder / name).write_text(whole)


@pytest.mark.timeout(IN_S)
@pytest.mark.parametrize("case", CASES)
def test_a_broken_folder_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    case: str,
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    folder = broken(tmp_path, case)
    status = run(["serve", str(folder), "--port", "0", "--backend", "reference"])
    said = capfd.readouterr()
    assert_one_sentence(case, status, said.out, said.err)


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_process_ends_in_time(tmp_path: Path, case: str) -> None:
    folder = broken(tmp_path, case)
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "serve", str(folder), "--port", "0"],
        env={**os.environ, "HEADRACE_HOME": str(tmp_path / "home")},  # noqa: TID251 (a child's)
        capture_output=True,
        text=True,
        check=False,
        timeout=IN_S,
    )
    assert_one_sentence(case, done.returncode, done.stdout, done.stderr)
