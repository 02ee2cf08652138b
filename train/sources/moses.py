"""Normalized punctuation, tokens apart, lower case: what machine translation is trained on and counted in (Koehn et al. 2007)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from configs import UserError


class Moses:
    """`sacremoses` for two languages, such as en and de."""

    def __init__(self, source: str, target: str) -> None:
        self.languages = source, target

    def prepare(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Both sides of each pair, tokenized and in lower case."""
        return [(tokenize(first, self.languages[0]), tokenize(second, self.languages[1])) for first, second in pairs]


@lru_cache(maxsize=4)
def _tools(language: str) -> tuple:
    try:
        from sacremoses import MosesDetokenizer, MosesPunctNormalizer, MosesTokenizer
    except ImportError:
        raise UserError("preprocessing 'moses' needs sacremoses: pip install sacremoses") from None
    return MosesPunctNormalizer(language), MosesTokenizer(language), MosesDetokenizer(language)


def tokenize(text: str, language: str) -> str:
    """Tokens in lower case with spaces between them."""
    normalizer, tokenizer, _ = _tools(language)
    return tokenizer.tokenize(normalizer.normalize(text).lower(), escape=False, return_str=True)


def detokenize(text: str, language: str) -> str:
    """Tokens as people write them; the case stays lost."""
    return _tools(language)[2].detokenize(text.split())
