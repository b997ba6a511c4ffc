from pathlib import Path

import pytest

from headrace.config import load
from headrace.errors import ConfigError
from headrace.types import Dtype


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "headrace.toml"
    file.write_text(text)
    return file


def test_flags_win_over_variables_over_the_file_over_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, "[api]\nport = 1\nhost = '::1'\ndrain_s = 2\n[engine]\nthreads = 3\n")
    env = {"HEADRACE_API__PORT": "5", "HEADRACE_API__DRAIN_S": "7", "HEADRACE_HOME": "/x"}
    config = load(file=file, environ=env, flags={"api.port": 9, "api.host": None})
    assert (config.api.port, config.api.host, config.api.drain_s) == (9, "::1", 7.0)
    assert config.engine.threads == 3
    assert config.engine.max_sequences == 32
    assert config.home == Path("/x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[api]\nprot = 1\n", "unknown setting 'api.prot'"),
        ("[nope]\nx = 1\n", "unknown setting 'nope.x'"),
        ("[api]\nport = 'many'\n", "'api.port'.*must be a int, not 'many'"),
        ("[api]\nport = 70000\n", "'api.port' must be between 0 and 65535"),
        ("[api]\nauth = 3\n", "'api.auth'.*must be a bool"),
        ("[api]\nauth = false\nhost = '0.0.0.0'\n", "needs a loopback host"),
        ("[log]\nformat = 'xml'\n", "'log.format'.*must be text or json, not 'xml'"),
        ("[log]\nlevel = 7\n", "'log.level'.*must be debug or info or warning"),
        ("[engine]\ndtype = 'fp8'\n", "'engine.dtype'.*must be stored or bf16, not 'fp8'"),
        ("[api\n", "headrace.toml cannot be read"),
        ("[api]\ncors_origins = 3\n", "'api.cors_origins'.*must be a list of texts"),
        ("[api]\ncors_origins = [3]\n", "'api.cors_origins'.*must be a list of texts"),
        ("[api]\ncors_origins = ['a.b']\n", "'api.cors_origins' must list origins.*'a.b'"),
        ("[accounts]\nsign_up = 'all'\n", "must be open or invitation or closed, not 'all'"),
        ("[accounts]\nsession_idle_s = 1\n", "'accounts.session_idle_s' must be between"),
        ("[api]\ntrusted_proxies = ['10.0.0.1/8']\n", "'api.trusted_proxies' must list addresses"),
        ("models = 3\n", "'models'.*must be a table"),
        ("[models]\na = 3\n", "'models.a'.*must be a table"),
        ("[models.a]\n", "'models.a.path'.*is missing"),
        ("[models.'a.b']\nprice = 1\n", "unknown setting 'models.a.b.price'"),
        ("[models.a]\npath = 'x'\nmax_tokens = 'many'\n", "'models.a.max_tokens'.*must be a int"),
        ("[models.a]\npath = 'x'\ntemperature = 3\n", "'models.a.temperature' must be between"),
        ("[models.a]\npath = 'x'\ntop_p = nan\n", "'models.a.top_p' must be between"),
        ("[models.a]\npath = 'x'\naliases = 'b'\n[models.b]\npath = 'y'\n", "'b' is taken"),
        ("[models.a]\npath = 'x'\naliases = ['c', 'c']\n", "'models.a.aliases': 'c' is taken"),
        (
            "[models.a]\npath = 'x'\naliases = ['a\\tb']\n".replace("'a\\tb'", '"a\\tb"'),
            "is no name",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load(file=write(tmp_path, text), environ={})


@pytest.mark.parametrize("given", ["bf16", Dtype.BF16])
def test_a_choice_is_read_as_such(given: str) -> None:
    assert load(environ={}).engine.dtype is Dtype.STORED
    assert load(environ={}, flags={"engine.dtype": given}).engine.dtype is Dtype.BF16
    assert load(environ={"HEADRACE_ENGINE__DTYPE": given}).engine.dtype is Dtype.BF16


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        load(file=tmp_path / "absent.toml", environ={})


def test_home_follows_the_desktop_convention() -> None:
    assert load(environ={"XDG_DATA_HOME": "/data"}).home == Path("/data/headrace")


def test_models_are_read_with_their_defaults(tmp_path: Path) -> None:
    text = """
        [models."org/Llama-3.2-1B"]
        path = "weights/llama"
        aliases = ["gpt-4o", "llama"]
        temperature = 0
        max_tokens = 512
        """
    config = load(file=write(tmp_path, text), environ={})
    (name,) = config.models
    model = config.models[name]
    assert name == "org/Llama-3.2-1B"
    assert model.path == tmp_path / "weights/llama"
    assert model.aliases == ("gpt-4o", "llama")
    assert (model.temperature, model.max_tokens, model.top_p) == (0.0, 512, None)


def test_lists_are_separated_by_commas_elsewhere() -> None:
    env = {"HEADRACE_API__CORS_ORIGINS": "https://a.example, https://b.example:8443"}
    origins = load(environ=env).api.cors_origins
    assert origins == ("https://a.example", "https://b.example:8443")
    assert load(environ={"HEADRACE_API__CORS_ORIGINS": ""}).api.cors_origins == ()
    assert load(environ={}).api.cors_origins == ("*",)
