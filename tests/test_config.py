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
