"""Text to ids and back, by a `tokenizer.json`. Neither PyTorch nor TensorFlow is needed, and `tokenizers` only where there is text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.reading import run_of

FILE = "tokenizer.json"
# Stands before a token when its text is asked for: some tokens lose a space at the start of a text.
BEFORE = "abcdef"


class Tokenizer:
    """A tokenizer of the package `tokenizers`: one of its own, one of Hugging Face's around it, a tokenizer.json, or its folder."""

    def __init__(self, source: Any) -> None:
        self.inner: Any = read(Path(source)) if isinstance(source, str | os.PathLike) else getattr(source, "backend_tokenizer", source)
        if not hasattr(self.inner, "encode_batch"):
            raise UserError(f"tokenizer is a {type(source).__name__}; give one of the package `tokenizers`, or the folder of a {FILE}")

    def encode(self, text: str) -> list[int]:
        """The ids of a text, with the special tokens that the tokenizer puts around it."""
        try:
            return list(self.inner.encode(text).ids)
        except Exception as error:
            raise UserError(f"the text {text!r} holds what the tokenizer does not know ({error}); use other characters") from None

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return self.inner.decode([int(token) for token in ids], skip_special_tokens=True)

    def pieces(self) -> list[bytes]:
        """What each id adds to a text that goes before it, in UTF-8: single bytes of a character where a tokenizer splits them."""
        decoder = b"" if self.inner.decoder is None else self.inner.decoder.__getstate__()
        byte_of = unicode_to_bytes() if b'"ByteLevel"' in decoder else {}
        before = self._tokens_before()
        start = len(self._join(before))
        vocabulary = self.inner.get_vocab()
        pieces = [b""] * (max(vocabulary.values(), default=-1) + 1)
        for token, number in vocabulary.items():
            if byte_of and all(character in byte_of for character in token):
                pieces[number] = bytes(byte_of[character] for character in token)
            elif b'"ByteFallback"' in decoder and is_single_byte(token):
                pieces[number] = bytes([int(token[3:5], 16)])
            else:
                pieces[number] = self._join([*before, token])[start:].encode()
        return pieces

    def _tokens_before(self) -> list[str]:
        try:
            return list(self.inner.encode(BEFORE, add_special_tokens=False).tokens)
        except Exception:
            return []

    def _join(self, tokens: list[str]) -> str:
        return self.inner.decoder.decode(tokens) if self.inner.decoder is not None else " ".join(tokens)


def read(path: Path) -> Any:
    """A tokenizer.json, or the folder that holds one."""
    file = file_in(path) if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path} holds no {FILE}, and text cannot become ids; name the folder of one")
    if find_spec("tokenizers") is None:
        raise UserError("text needs the package tokenizers, which is not installed; pip install tokenizers")
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:
        raise UserError(f"{file}: not a tokenizer that `tokenizers` reads ({error})") from None


def file_in(folder: Path) -> Path:
    """The tokenizer.json of a folder; of a checkpoint of one of this project's runs that of the run."""
    run = run_of(folder)
    return run / FILE if run is not None and not (folder / FILE).is_file() else folder / FILE


def is_single_byte(token: str) -> bool:
    """Whether a token is a byte that no other token covers, such as <0x0A>."""
    digits = "0123456789abcdefABCDEF"
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">") and token[3] in digits and token[4] in digits


def unicode_to_bytes() -> dict[str, int]:
    """GPT-2's tokens (Radford et al. 2019, 2.2) write a byte as the character of its number where it prints, others from 256 on."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(256 + place): byte for place, byte in enumerate(others)}
