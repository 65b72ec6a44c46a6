# pyright: basic
"""Whether a checkpoint of the tiny policy belongs to the words of this release."""

from __future__ import annotations

from pathlib import Path

import orjson

from toolfoundry.errors import InputError
from toolfoundry.train.tiny.tokenizer import build_tokenizer, vocabulary_hash

__all__ = ["ABOUT", "check_words", "vocabulary_hash"]

ABOUT = "tiny.json"


def check_words(folder: Path) -> None:
    """Raises InputError where the checkpoint was made with other words than those of this release."""
    path = folder / ABOUT
    try:
        stored = str(orjson.loads(path.read_bytes())["vocabulary"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        raise InputError(f"{path}: cannot be read; expected a checkpoint made by `train tiny-warmstart`") from None
    expected = vocabulary_hash(build_tokenizer())
    if stored != expected:
        raise InputError(
            f"{folder}: made with other words of the tiny profile (vocabulary {stored}, this release has {expected}); "
            "`toolfoundry train tiny-warmstart` makes it again"
        )
