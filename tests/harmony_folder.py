"""A vocabulary that knows harmony, made on the spot, and harmony written as people write it."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from headrace.model import Tokenizer
from headrace.model.harmony import Control, control_ids
from tests.tiny_folder import VOCAB, byte_level_tokenizer, write_folder

CONTROL = ("<|startoftext|>", "<|endoftext|>", *Control)
_SPELLING = re.compile("|".join(map(re.escape, CONTROL)))


def today() -> datetime:
    return datetime(2026, 11, 27, tzinfo=UTC)


def harmony_tokenizer(folder: Path) -> Tokenizer:
    file = folder / "tokenizer.json"
    byte_level_tokenizer(control=CONTROL).save(str(file))
    return Tokenizer(file, vocab_size=VOCAB)


def ids_of(tokenizer: Tokenizer, script: str) -> list[int]:
    """The tokens of `script`, in which every spelling of a control token is that token."""
    ids: list[int] = []
    start = 0
    for found in _SPELLING.finditer(script):
        known = tokenizer.control.id_of(found[0])
        assert known is not None
        ids += [*tokenizer.encode_inner(script[start : found.start()]), known]
        start = found.end()
    return ids + tokenizer.encode_inner(script[start:])


def script_of(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The other way."""
    written = (tokenizer.control.spelling(i).encode() or tokenizer.token_bytes(i) for i in ids)
    return b"".join(written).decode()


def controls_of(tokenizer: Tokenizer) -> dict[int, Control]:
    return {token_id: control for control, token_id in control_ids(tokenizer.control).items()}


def write_harmony_folder(folder: Path) -> Path:
    """A model folder that is spoken to in harmony. Its network is a tiny Llama: nobody runs it."""
    write_folder(folder, model_type="gpt_oss", max_position_embeddings=4_096)
    tokenizer = harmony_tokenizer(folder)
    ends = [tokenizer.control.id_of(each) for each in ("<|return|>", "<|endoftext|>", "<|call|>")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return folder
