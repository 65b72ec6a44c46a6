"""The tiny policy's tokenizer: words are tokens, text comes back, and the checkpoint belongs to these words."""

import pytest

pytest.importorskip("torch", reason="needs the extra train")

from hypothesis import given
from hypothesis import strategies as st

from toolfoundry.build.authors.procedural.tiny import RELATIONS, WORDS, entity_name
from toolfoundry.chat import FORMATS
from toolfoundry.errors import InputError
from toolfoundry.policies.transformers import TINY, HFCodec, checkpoint_folder
from toolfoundry.train.tiny.tokenizer import PHRASES, build_tokenizer
from toolfoundry.train.tiny.words import ABOUT, check_words

CODEC = HFCodec(build_tokenizer(), FORMATS["hermes"].end_tokens)


def test_each_word_is_one_token():
    """Every word and syllable of the profile, and every phrase of its texts, is a single token."""
    assert {word: len(CODEC.encode(word)) for word in (*WORDS, *PHRASES) if len(CODEC.encode(word)) != 1} == {}


def test_a_name_is_four_tokens():
    """Names are cut into their four syllables wherever they stand."""
    for number in range(0, 80_000_000, 997_331):
        name = entity_name(number)
        assert len(CODEC.encode(name)) == 4
        assert len(CODEC.encode(f"of {name}?")) == 4 + len(CODEC.encode("of ")) + 1


def test_tool_names_are_their_words():
    """A tool's name costs its words and the underscores between them."""
    for relation in RELATIONS:
        assert len(CODEC.encode(relation.tool)) == 2 * relation.tool.count("_") + 1


@given(st.text(max_size=60))
def test_any_text_comes_back(text: str):
    """Bytes stand for whatever is no word, so decoding gives back any text that can be encoded at all."""
    text = text.encode("utf-8", "ignore").decode()
    assert CODEC.decode(CODEC.encode(text)) == text


def test_the_packaged_warm_start_belongs_to_these_words():
    """Changing the words of the tiny profile makes the checkpoint useless: then it must be made again."""
    check_words(checkpoint_folder(TINY))


def test_a_checkpoint_of_other_words_is_refused(tmp_path):
    """The message says what was found, what was expected, and what to type."""
    with pytest.raises(InputError, match=r"tiny\.json: cannot be read"):
        check_words(tmp_path)
    (tmp_path / ABOUT).write_text('{"vocabulary": "0123"}')
    with pytest.raises(InputError, match=r"vocabulary 0123, this release has .*tiny-warmstart"):
        check_words(tmp_path)
