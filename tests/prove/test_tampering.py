"""Each point of `headrace prove` is green as things are, and red when one of them was changed."""

import asyncio
import random
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.api import HttpServer, address, bind, build_app
from headrace.backends.base import Weights
from headrace.backends.cpu import CpuBackend
from headrace.backends.reference import ReferenceBackend
from headrace.bench.decode import DecodeResult
from headrace.clock import SystemClock
from headrace.config import Config, EngineConfig
from headrace.engine import EngineClient, build_backend, build_engine
from headrace.gateway.local import LocalModel, LocalProvider
from headrace.model import LanguageModel, bundled_model, open_model
from headrace.prove import Point, roofline
from headrace.prove.crowd import Told
from headrace.prove.kills import faults, killed, paid_server, recover
from headrace.prove.parity import compare
from headrace.prove.schemas import Maker, answers, judged
from headrace.store import SqliteStore, Transaction
from tests.threaded import threaded

SCHEMAS = 30
Change = Callable[[np.ndarray[Any, Any]], None]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return open_model(bundled_model())


def parity(model: LanguageModel, weights: Weights) -> Point:
    """The parity of a backend that was given these weights."""
    reference = ReferenceBackend(model.program, model.weights, num_blocks=6)
    backend = CpuBackend(model.program, weights, num_blocks=6, threads=1)
    try:
        prompt = model.tokenizer.encode_prompt("A mill stands by the river.")
        return compare(backend, reference, model.weights, prompt=prompt, command="again")
    finally:
        backend.close()


def with_changed(weights: Weights, name: str, change: Change) -> Mapping[str, Any]:
    changed = np.array(weights[name][:])
    change(changed)
    return {each: weights[each] for each in weights} | {name: changed}


def flip(values: np.ndarray[Any, Any]) -> None:
    """The least of all changes: the last bit of one weight."""
    values[7, 11] ^= 1


def scale(values: np.ndarray[Any, Any]) -> None:
    values[:] = values[::-1].copy()


def test_parity_holds(model: LanguageModel) -> None:
    point = parity(model, model.weights)
    assert point.is_green, point.faults
    assert ("matrices compared bit by bit", "43") in point.facts


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "model.layers.2.mlp.down_proj.weight",
        "model.layers.0.self_attn.k_proj.weight",
    ],
)
def test_one_bit_of_one_weight_is_noticed(model: LanguageModel, name: str) -> None:
    point = parity(model, with_changed(model.weights, name, flip))
    assert point.faults == [f"the packed bits of {name} are not the checkpoint's"]


def test_a_norm_s_weights_show_in_the_logits(model: LanguageModel) -> None:
    point = parity(model, with_changed(model.weights, "model.norm.weight", scale))
    assert "a logit is off by" in point.faults[0]


@dataclass(frozen=True)
class Killed:
    """A home folder after kills, and what clients were told."""

    home: Path
    told: list[Told]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    server = paid_server(tmp_path_factory.mktemp("books"), bundled_model())
    told = killed(server, random.Random(3))
    recover(server)
    return Killed(server.home, told)


def test_the_books_hold(played: Killed) -> None:
    assert faults(played.told, played.home) == []
    assert any(each.is_whole for each in played.told)
    assert any(each.id and not each.is_whole for each in played.told)


def cheaper(tx: Transaction, id_: str) -> None:
    tx.execute("UPDATE ledger SET micros = micros + 1 WHERE reference = ?", (id_,))


def gone(tx: Transaction, id_: str) -> None:
    tx.execute("DELETE FROM ledger WHERE reference = ?", (id_,))


def fewer_tokens(tx: Transaction, id_: str) -> None:
    """Record and ledger agree with each other; what the client saw is another thing."""
    tx.execute(
        "UPDATE usage_records SET completion_tokens = completion_tokens - 1 WHERE request_id = ?",
        (id_,),
    )


def never_ran(tx: Transaction, id_: str) -> None:
    tx.execute("DELETE FROM usage_records WHERE request_id = ?", (id_,))
    tx.execute("DELETE FROM ledger WHERE reference = ?", (id_,))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cheaper, "record and ledger entry of {} do not agree"),
        (gone, "record and ledger entry of {} do not agree"),
        (fewer_tokens, "the record of {} is not what its client was told"),
        (never_ran, "{} has no record"),
    ],
)
def test_a_row_of_the_books_that_was_changed_is_noticed(
    played: Killed, tmp_path: Path, harm: Callable[[Transaction, str], None], said: str
) -> None:
    home = shutil.copytree(played.home, tmp_path / "home")
    id_ = next(each.id for each in played.told if each.is_whole and each.usage)
    store = SqliteStore(home / "headrace.db", SystemClock())
    with closing(store), store.changing() as tx:
        for table in ("ledger", "usage_records"):
            for what in ("updated", "deleted"):
                tx.execute(f"DROP TRIGGER {table}_is_never_{what}")
        harm(tx, id_)
    assert said.format(id_) in faults(played.told, home)


def schemas_of(home: Path, model: LanguageModel) -> Point:
    """The point of a server in this process, on the bundled model."""
    maker = Maker(1)
    schemas = [maker.draw() for _ in range(SCHEMAS)]

    async def scenario() -> list[str | None]:
        config = EngineConfig(threads=1, kv_tokens=16_384)
        backend = build_backend(model.program, model.weights, config)
        engine = build_engine(backend, config, SystemClock(), model=bundled_model())
        client = EngineClient(threaded(lambda: engine), SystemClock(), greeting=(1,))
        provider = LocalProvider({model.name: LocalModel(model, client)})
        await provider.start()
        app = build_app(provider, None, Config(home=home), SystemClock())
        is_ready = asyncio.Event()
        server = HttpServer(app, drain_s=5, on_ready=is_ready.set, on_limit=provider.stop)
        sock = bind("127.0.0.1", 0)
        running = asyncio.create_task(server.run(sock))
        try:
            await is_ready.wait()
            return await answers(address(sock), "none", provider.models[0].id, schemas)
        finally:
            server.stop()
            await running
            await provider.stop()
            backend.close()

    return judged(schemas, asyncio.run(scenario()), "again")


def test_schemas_hold(tmp_path: Path, model: LanguageModel) -> None:
    point = schemas_of(tmp_path, model)
    assert point.is_green, point.faults


def test_a_guard_that_lets_everything_pass_is_noticed(
    tmp_path: Path, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def anything(*_: object, **__: object) -> str:
        return ""

    monkeypatch.setattr("headrace.model.marked_answers.answer_grammar", anything)
    point = schemas_of(tmp_path, model)
    assert point.faults[0].startswith("an answer does not follow its schema")


def test_one_wrong_answer_among_all_is_noticed() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 5}}}
    schemas = [schema] * 10
    good: list[str | None] = ['{"a": 5}'] * 10
    assert judged(schemas, good, "again").is_green
    for bad in ('{"a": 6}', '{"a": 5', '{"a": "5"}'):
        point = judged(schemas, [*good[:9], bad], "again")
        assert point.faults == [f"an answer does not follow its schema: {bad!r}"]
    point = judged(schemas, [*good[:5], *[None] * 5], "again")
    assert point.faults == ["only 5 of 10 answers came to their end"]


@pytest.mark.parametrize(
    ("read_gb_s", "said"),
    [(60.0, ""), (30.0, ""), (29.0, "29% of the bandwidth, and 30%"), (121.0, "cannot be")],
)
def test_a_share_that_is_too_small_or_cannot_be_is_red(read_gb_s: float, said: str) -> None:
    result = DecodeResult(
        decode_tok_s=1_000.0,
        decode_tok_s_min=900.0,
        decode_tok_s_max=1_100.0,
        prefill_tok_s=5_000.0,
        bytes_per_token=1_000_000,
        step_bytes=1_000_000,
        read_rate_gb_s=read_gb_s,
        token_ids=(),
    )
    point = roofline.judged(result, 100.0, 0.3, "again")
    assert said in "".join(point.faults)
    assert point.is_green == (not said)
