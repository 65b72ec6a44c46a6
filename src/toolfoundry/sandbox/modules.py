"""Which modules tool code can import: exactly what the zygote loads before any tool code exists.

A worker can open no file, so nothing else can be imported later. The list is limited to parts of the standard library
that exist in Python 3.11, 3.12 and 3.13; a name in it says nothing about what the kernel then lets the module do
(`os` is there, `os.open` is refused). This file is read by the zygote, so it imports nothing of ToolFoundry.
"""

from __future__ import annotations

__all__ = ["ALLOWED_IMPORTS", "ENCODINGS", "PRELOAD"]

PRELOAD: tuple[str, ...] = tuple(
    """
    __future__ _strptime abc array ast base64 binascii bisect builtins bz2 calendar cmath codecs collections
    collections.abc colorsys contextlib contextvars copy copyreg csv dataclasses datetime decimal difflib dis
    encodings.idna enum errno fnmatch fractions functools gc getopt graphlib gzip hashlib heapq hmac html
    html.entities html.parser importlib importlib.resources importlib.util inspect io ipaddress itertools json
    json.decoder json.encoder keyword linecache locale logging lzma math numbers opcode operator os os.path pathlib
    pickle pprint queue quopri random re reprlib secrets shlex sqlite3 stat statistics string stringprep struct sys
    textwrap threading time timeit token tokenize traceback types typing unicodedata urllib.error urllib.parse uuid
    warnings weakref xml.etree.ElementTree xml.sax.saxutils zipfile zlib zoneinfo
    """.split()
)
"""Loaded once; the order matters only for `time`, which is replaced before the others are imported."""

ENCODINGS: tuple[str, ...] = tuple(
    """
    ascii base64_codec charmap cp437 cp1250 cp1251 cp1252 hex_codec idna iso8859_1 iso8859_2 iso8859_15 latin_1 palmos
    punycode quopri_codec raw_unicode_escape rot_13 unicode_escape utf_16 utf_16_be utf_16_le utf_32 utf_32_be utf_32_le
    utf_7 utf_8 utf_8_sig zlib_codec
    """.split()
)
"""Codecs are modules too, loaded at first use: these are loaded beforehand."""

ALLOWED_IMPORTS: frozenset[str] = frozenset(name.partition(".")[0] for name in PRELOAD if name != "_strptime")
"""Top-level modules that tool code can import."""
