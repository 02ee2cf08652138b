"""What a finished model can do, in words. Of no framework: a model is its config, and a function `generate` that gives lists of ids."""

from __future__ import annotations

from collections.abc import Sequence

from configs import ModelConfig
from train.answers import Generate, encode_sources
from train.objectives.corpus import Corpus
from train.tokenization import TextTokenizer

SEED = 0
TOKENS = 100
EXAMPLES = 3


def sample(generate: Generate, model: ModelConfig, corpus: Corpus, prompt: str | None) -> str:
    """A decoder's continuation of the prompt, always drawn with the same random numbers, or an encoder-decoder's answers to the first
    test examples. Nothing of a model that gives classes."""
    tokenizer = corpus.tokenizer
    if tokenizer is None or model.head.kind != "language_model":
        return ""
    if model.architecture == "encoder_decoder":
        sources = [source for source, _ in corpus.test[:EXAMPLES]]
        answers = answer_each(generate, model, tokenizer, sources)
        return "\n".join(f"{source}  →  {answer}" for source, answer in zip(sources, answers, strict=True))
    ids = tokenizer.encode_prompt(prompt or "")[: model.max_length - 1]
    new = min(TOKENS, model.max_length - len(ids))
    top_k = min(50, model.vocab_size)
    return tokenizer.decode(generate([ids], max_new_tokens=new, do_sample=True, top_k=top_k, temperature=0.8, seed=SEED)[0])


def answer_each(generate: Generate, model: ModelConfig, tokenizer: TextTokenizer, sources: Sequence[str]) -> list[str]:
    """What an encoder-decoder makes of each source, without any randomness."""
    new = min(TOKENS, model.max_length - 1)
    ids, _ = encode_sources(tokenizer, sources, model)
    return [tokenizer.decode(generate([row], max_new_tokens=new)[0], skip_special_tokens=True) for row in ids]
