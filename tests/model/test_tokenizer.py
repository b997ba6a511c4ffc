"""Text is ordinary text whatever it spells, and comes back as it went in."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Fast

from headrace.errors import CheckpointError, InvalidRequest
from headrace.model import Detokenizer, Tokenizer
from headrace.model.control_tokens import ControlToken, ControlTokens
from tests.tiny_folder import CONTROL, VOCAB, byte_level_tokenizer


def saved(tmp_path: Path, fast: Fast) -> Path:
    fast.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(saved(tmp_path_factory.mktemp("t"), byte_level_tokenizer()), vocab_size=VOCAB)


def decode(tokenizer: Tokenizer, ids: list[int]) -> str:
    return b"".join(map(tokenizer.token_bytes, ids)).decode()


# Text likely to spell, half-spell, join or escape control tokens.
PIECES = st.sampled_from(
    [*CONTROL, "<|", "|>", "eot_id", "<", ">", "|", " ", "\n", "\ufdd0", "\ufdd1", "0", "1", "the"]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@given(TEXTS)
def test_text_comes_back_and_holds_no_control_token(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode_text(text)
    assert tokenizer.control.ids.isdisjoint(ids)
    assert decode(tokenizer, ids) == text


@given(TEXTS, TEXTS)
def test_masked_text_survives_rendering_among_control_tokens(
    tokenizer: Tokenizer, first: str, second: str
) -> None:
    mask = tokenizer.control.mask
    rendered = f"<|eot_id|>{mask(first)}{mask(second)}<|eot_id|>"
    ids = tokenizer.encode_rendered(rendered)
    assert [i for i in ids if i in tokenizer.control.ids] == [ids[0], ids[-1]]
    assert decode(tokenizer, ids) == first + second


@given(TEXTS)
def test_a_mask_can_be_trimmed_like_the_text_itself(tokenizer: Tokenizer, text: str) -> None:
    rendered = tokenizer.control.mask(text).strip()
    assert decode(tokenizer, tokenizer.encode_rendered(rendered)) == text.strip()


@given(TEXTS)
def test_a_half_spelled_control_token_of_the_template_is_not_completed(
    tokenizer: Tokenizer, text: str
) -> None:
    ids = tokenizer.encode_rendered("<|eot" + tokenizer.control.mask(text) + "|>")
    # "<|eot" + "_id" + "|>" is the template's own doing: it wrote both ends of the spelling
    assert tokenizer.control.ids.isdisjoint(ids) or text == "_id"


def test_overlapping_spellings_are_all_masked() -> None:
    tokens = {s: ControlToken(id=i, spelling=s) for i, s in enumerate(["<s>", "s>x", "<s><s>"])}
    control = ControlTokens(tokens)
    for text in ("<s>x", "<s><s>x", "<s><s><s>"):
        assert list(control.split(control.mask(text))) == [text]


def test_the_longest_control_token_wins_and_swallows_its_white_space() -> None:
    tokens = {
        "<a>": ControlToken(id=1, spelling="<a>", lstrip=True),
        "<a><b>": ControlToken(id=2, spelling="<a><b>", rstrip=True),
    }
    found = list(ControlTokens(tokens).split("x <a><b> y <a> z"))
    assert found == ["x ", tokens["<a><b>"], "y", tokens["<a>"], " z"]


def test_control_tokens_named_only_in_the_settings_are_control_tokens(tmp_path: Path) -> None:
    fast = byte_level_tokenizer(control=CONTROL[:2])
    fast.add_tokens([AddedToken("<end>", special=False, normalized=False)])
    settings = {"eos_token": {"content": "<end>"}, "bos_token": None, "pad_token": "<unknown>"}
    tokenizer = Tokenizer(saved(tmp_path, fast), settings, vocab_size=VOCAB)
    end = fast.token_to_id("<end>")
    assert end in tokenizer.control.ids
    assert end not in tokenizer.encode_text("an <end>")
    assert tokenizer.encode_rendered("<end>") == [end]


def test_added_tokens_that_are_not_special_write_their_text(tmp_path: Path) -> None:
    fast = byte_level_tokenizer()
    fast.add_tokens([AddedToken("<think é>", special=False, normalized=False)])
    tokenizer = Tokenizer(saved(tmp_path, fast), vocab_size=VOCAB)
    ids = tokenizer.encode_text("a<think é>b")
    assert len(ids) == 3
    assert decode(tokenizer, ids) == "a<think é>b"


@pytest.mark.parametrize("text", ["a\ud800", "a" * 5_000 + "\ud800"])
def test_unpaired_surrogates_are_the_callers_mistake(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(InvalidRequest, match="surrogates"):
        tokenizer.encode_text(text)


def test_long_and_short_texts_are_cut_alike(tokenizer: Tokenizer) -> None:
    word = " the thing <|eot_id|> é"
    assert tokenizer.encode_text(word * 500) == tokenizer.encode_text(word) * 500


def test_nothing_is_added_cut_or_padded(tmp_path: Path) -> None:
    fast = byte_level_tokenizer()
    fast.enable_truncation(4)
    fast.enable_padding(length=8)
    tokenizer = Tokenizer(saved(tmp_path, fast), vocab_size=VOCAB)
    assert len(tokenizer.encode_text("q" * 6)) == 6


def no_bytes() -> Fast:
    fast = Fast(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    fast.decoder = decoders.ByteLevel()
    return fast


def other_decoder() -> Fast:
    fast = byte_level_tokenizer()
    fast.decoder = decoders.WordPiece()
    return fast


def leaking() -> Fast:
    """Writes its control token from text: the whole spelling is a word of the vocabulary."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>"]
    model = models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[], ignore_merges=True)
    fast = Fast(model)
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit()])
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens([AddedToken("<s>", special=True, normalized=False)])
    return fast


def one_letter() -> Fast:
    return byte_level_tokenizer(control=("§",))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_bytes, "no token for some single bytes"),
        (other_decoder, "WordPiece is not known"),
        (leaking, "cannot write '<s>' as ordinary text"),
        (one_letter, "'§' cannot be told from plain text"),
    ],
)
def test_a_tokenizer_that_cannot_keep_the_promises_is_refused(
    tmp_path: Path, make: Callable[[], Fast], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        Tokenizer(saved(tmp_path, make()), vocab_size=VOCAB)


@pytest.mark.parametrize("content", [None, "{", json.dumps({"version": "1.0"})])
def test_a_missing_or_broken_file_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Tokenizer(file, vocab_size=VOCAB)


def sentencepiece_like(*, scheme: str) -> Fast:
    """A vocabulary of words with ▁ for a space and a token for each byte."""
    words = ["<unk>", "<s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "b", "▁a"]
    fast = Fast(
        models.BPE(
            vocab={w: i for i, w in enumerate(words)},
            merges=[("▁", "a")],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    fast.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    fast.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in words[:2]])
    return fast


@pytest.mark.parametrize("scheme", ["first", "always"])
def test_a_byte_fallback_vocabulary_agrees_with_the_library(tmp_path: Path, scheme: str) -> None:
    fast = sentencepiece_like(scheme=scheme)
    tokenizer = Tokenizer(saved(tmp_path, fast), vocab_size=VOCAB)
    for rendered in ("<s>a b é", "a <s>b", "ab<s><s> a", "😀"):
        ids = tokenizer.encode_rendered(rendered)
        assert ids == fast.encode(rendered, add_special_tokens=False).ids
        detokenizer = Detokenizer(tokenizer)
        text = detokenizer.push(ids) + detokenizer.flush()
        assert text == fast.decode(ids, skip_special_tokens=True)


def test_what_goes_on_with_a_text_keeps_its_space(tmp_path: Path) -> None:
    fast = sentencepiece_like(scheme="first")
    tokenizer = Tokenizer(saved(tmp_path, fast), vocab_size=VOCAB)
    ids = tokenizer.encode_prompt("a a b ab")
    for cut in range(1, len(ids)):
        before, after = ids[:cut], ids[cut:]
        text = Detokenizer(tokenizer).push(before)
        text += Detokenizer(tokenizer, goes_on=True).push(after)
        assert text == "a a b ab"


def beyond(tmp_path: Path, *, special: bool) -> Tokenizer:
    """Of a text model whose tokenizer has one token more, as Gemma 3's has for images."""
    fast = byte_level_tokenizer()
    vocab_size = fast.get_vocab_size()
    token = AddedToken("<image_soft_token>", special=special, normalized=False)
    (fast.add_special_tokens if special else fast.add_tokens)([token])
    assert fast.token_to_id("<image_soft_token>") == vocab_size
    return Tokenizer(saved(tmp_path, fast), vocab_size=vocab_size)


def test_a_control_token_beyond_the_vocabulary_is_never_fed(tmp_path: Path) -> None:
    tokenizer = beyond(tmp_path, special=True)
    text = "see <image_soft_token> here"
    ids = tokenizer.encode_text(text)
    assert max(ids) < tokenizer.vocab_size
    assert decode(tokenizer, ids) == text
    mask = tokenizer.control.mask
    assert decode(tokenizer, tokenizer.encode_rendered(mask(text))) == text
    with pytest.raises(InvalidRequest, match="no token '<image_soft_token>'"):
        tokenizer.encode_rendered(f"<|eot_id|>{text}")


def test_text_that_is_a_token_beyond_the_vocabulary_is_refused(tmp_path: Path) -> None:
    tokenizer = beyond(tmp_path, special=False)
    assert decode(tokenizer, tokenizer.encode_text("image_soft_token")) == "image_soft_token"
    for text in ("<image_soft_token>", "a" * 3_000 + "<image_soft_token>"):
        with pytest.raises(InvalidRequest, match="cannot be written"):
            tokenizer.encode_text(text)
        with pytest.raises(InvalidRequest, match="cannot be written"):
            tokenizer.encode_rendered(f"<|eot_id|>{tokenizer.control.mask(text)}")


def test_an_ordinary_token_beyond_the_vocabulary_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, byte_level_tokenizer(control=()))
    with pytest.raises(CheckpointError, match="token id 262"):
        Tokenizer(file, vocab_size=262)


def test_a_prompt_stands_between_what_the_checkpoint_puts_around_a_text(tmp_path: Path) -> None:
    fast = byte_level_tokenizer()
    assert (
        Tokenizer(saved(tmp_path, fast), vocab_size=VOCAB).encode_prompt("the")
        == fast.encode("the").ids
    )
    bos, eos = (fast.get_vocab()[name] for name in CONTROL[:2])
    fast.post_processor = processors.TemplateProcessing(
        single=f"{CONTROL[0]} $A {CONTROL[1]}",
        special_tokens=[(CONTROL[0], bos), (CONTROL[1], eos)],
    )
    framed = Tokenizer(saved(tmp_path, fast), vocab_size=VOCAB)
    for text in ("the", "", CONTROL[0], "a" * 5_000):
        assert framed.encode_prompt(text) == [bos, *framed.encode_text(text), eos]
    assert framed.encode_text("the") == fast.encode("the", add_special_tokens=False).ids
    assert framed.spelling(bos) == CONTROL[0]
