"""The lists of models: with a key and without, in their forms, with aliases."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import AccountService, KeyDraft
from headrace.accounts.organisations import operator_in
from headrace.api import build_app
from headrace.clock import ManualClock
from headrace.config import ApiConfig, Config, PriceConfig
from headrace.store import OrganisationRecord, organisations
from tests.api.exchange import app_of, ask, call, complete
from tests.scripted import CARD, ScriptedProvider

BOTH = ["/v1/models", "/public/v1/models"]


@pytest.mark.parametrize("path", BOTH)
def test_each_form_has_its_fields(path: str):
    app = app_of(ScriptedProvider())
    openrouter = call(app, "GET", f"{path}?format=openrouter").json
    assert set(openrouter) == {"data"}
    (model,) = openrouter["data"]
    assert (model["id"], model["context_length"]) == (CARD.id, CARD.context_tokens)
    assert set(model["pricing"].values()) == {"0"}
    assert model["openrouter"] == {"slug": CARD.id}
    assert model["quantization"] == "unknown"
    huggingface = call(app, "GET", f"{path}?format=huggingface").json
    assert huggingface["object"] == "list"
    assert huggingface["data"][0]["pricing"] == {"input": 0, "output": 0}
    assert call(app, "GET", f"{path}/{CARD.id}?format=openrouter").json == model


def test_prices_are_those_of_today(accounts: AccountService):
    price = PriceConfig(
        model=CARD.id, input_micros=350_000, cached_input_micros=35_000, output_micros=750_000
    )
    later = replace(price, input_micros=1, since="2027-01-01")
    config = Config(home=Path("/nonexistent"), prices=(price, later))
    provider = ScriptedProvider(aliases=("fast",))
    app = build_app(provider, accounts, config, ManualClock())
    public, alias = call(app, "GET", "/public/v1/models").json["data"]
    assert public["pricing"] == {"prompt": "0.00000035", "completion": "0.00000075"}
    assert alias["pricing"] == public["pricing"], "an alias costs what its model does"
    forms = (
        call(app, "GET", f"/public/v1/models/{CARD.id}?format={word}").json
        for word in ("openrouter", "huggingface")
    )
    openrouter, huggingface = forms
    assert openrouter["pricing"]["input_cache_read"] == "0.000000035"
    assert openrouter["pricing"]["prompt"] == "0.00000035"
    assert huggingface["pricing"] == {"input": 0.35, "output": 0.75}
    open_app = build_app(provider, None, config, ManualClock())
    (free, _) = call(open_app, "GET", "/public/v1/models").json["data"]
    assert free["pricing"] == {"prompt": "0", "completion": "0"}, "nobody pays"


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("word", ["", "xml", "default,openrouter", "%00"])
def test_another_form_is_a_400(path: str, word: str):
    app = app_of(ScriptedProvider())
    assert call(app, "GET", f"{path}?format=default").status == 200
    for address in (path, f"{path}/{CARD.id}"):
        got = call(app, "GET", f"{address}?format={word}")
        assert (got.status, got.json["param"]) == (400, "format")


def test_the_public_list_needs_no_key(accounts: AccountService):
    app = app_of(ScriptedProvider(), accounts)
    got = call(app, "GET", "/public/v1/models")
    assert got.status == 200
    assert got.headers["cache-control"] == "public, max-age=60"
    (model,) = got.json["data"]
    assert 1 <= len(model["description"]) <= 1_000
    assert (model["id"], model["name"], model["created"]) == (CARD.id, CARD.id, CARD.created)
    assert model["pricing"] == {"prompt": "0", "completion": "0"}
    assert all(isinstance(flag, bool) for flag in model["capabilities"].values())
    assert all(isinstance(flag, bool) for flag in model["supported_parameters"].values())
    assert model["limits"]["max_context_length"] == CARD.context_tokens
    assert call(app, "GET", f"/public/v1/models/{CARD.id}").json == model
    unknown = call(app, "GET", "/public/v1/models/no/such")
    assert (unknown.status, unknown.json["code"]) == (404, "model_not_found")


def test_the_public_list_can_be_switched_off():
    assert ApiConfig().public_models
    app = app_of(ScriptedProvider(), public_models=False)
    for path in ("/public/v1/models", f"/public/v1/models/{CARD.id}"):
        got = call(app, "GET", path)
        assert (got.status, got.json["code"]) == (404, "not_found")


def test_a_private_model_is_unknown_to_all_but_its_organisations(accounts: AccountService):
    private = replace(CARD, organisations=("org_a", "org_b"))
    app = app_of(ScriptedProvider("x", card=private, aliases=("mine",)), accounts)
    with accounts._store.changing() as tx:
        for name in ("org_a", "org_c"):
            organisations.add(
                tx, OrganisationRecord(id=name, name=name, tier="free", created_unix=0)
            )
    keys: dict[str, str] = {}
    for name in ("org_a", "org_c"):
        actor = operator_in(name)
        project = accounts.projects.create(actor, "p")
        keys[name] = accounts.keys.create(actor, project.id, KeyDraft(name="k")).secret
    for name, status in (("org_a", 200), ("org_c", 404)):
        as_ = {"authorization": f"Bearer {keys[name]}"}
        listed = call(app, "GET", "/v1/models", **as_).json["data"]
        assert [model["id"] for model in listed] == ([CARD.id, "mine"] if status == 200 else [])
        for model in (CARD.id, "mine"):
            assert call(app, "GET", f"/v1/models/{model}", **as_).status == status
            got = call(app, "POST", "/v1/chat/completions", ask(model=model), **as_)
            assert got.status == status
            text = {"model": model, "prompt": "x"}
            assert call(app, "POST", "/v1/tokenize", text, **as_).status == status
            assert call(app, "POST", "/v1/completions", text, **as_).status == status
        if status == 404:
            unknown = call(app, "POST", "/v1/chat/completions", ask(model="none"), **as_).json
            assert got.json["message"] == unknown["message"].replace("none", "mine")
    assert call(app, "GET", "/public/v1/models").json["data"] == []
    assert call(app, "GET", f"/public/v1/models/{CARD.id}").status == 404


def test_whoever_has_the_server_to_himself_has_its_private_models():
    private = replace(CARD, organisations=("org_a",))
    app = app_of(ScriptedProvider("x", card=private))
    assert call(app, "POST", "/v1/chat/completions", ask()).status == 200


def test_an_alias_is_a_model_of_the_list_and_names_its_root():
    app = app_of(ScriptedProvider("x", aliases=("gpt-4o", "fast/mini")))
    listed = call(app, "GET", "/v1/models").json["data"]
    assert [(model["id"], model["root"]) for model in listed] == [
        (CARD.id, CARD.id),
        ("gpt-4o", CARD.id),
        ("fast/mini", CARD.id),
    ]
    assert call(app, "GET", "/v1/models/fast/mini").json == listed[2]


@pytest.mark.parametrize("stream", [False, True])
def test_an_alias_answers_under_the_id_that_was_asked_for(stream: bool):
    app = app_of(ScriptedProvider("x", aliases=("gpt-4o",)))
    asked = ask(model="gpt-4o", stream=stream)
    chat = call(app, "POST", "/v1/chat/completions", asked)
    text = complete(app, model="gpt-4o", stream=stream)
    own = complete(app, stream=stream)
    answers: list[Any] = [*chat.events, *text.events] if stream else [chat.json, text.json]
    assert {answer["model"] for answer in answers} == {"gpt-4o"}
    prints = {answer["system_fingerprint"] for answer in answers}
    assert prints == {(own.events[0] if stream else own.json)["system_fingerprint"]}
    metrics = call(app, "GET", "/metrics").body.decode()
    assert f'headrace_completions_total{{model="{CARD.id}",tier="enterprise"}} 3.0' in metrics
    assert "gpt-4o" not in metrics
