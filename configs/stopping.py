"""When a text is over: after an end token, or as soon as a stop string stands in it.

A states of the automaton, V vocabulary, B batch, T query length (of a prompt), L bytes of the longest token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.text import Tokenizer


class Stops:
    """The states of an automaton that reads text and ends in an end token or a stop string; a table has its steps, token by token.

    Stop strings are found by an automaton over their bytes (Aho and Corasick 1975), whose steps are taken together for all bytes of a
    token. So a string is found wherever it begins and ends inside of tokens, and a table can be read inside of any graph.
    table_AV: the state after each token; the last state is the end, which nothing leaves. ends: tokens that end a text.
    strings, pieces: stop strings, and the bytes of each token.
    """

    def __init__(self, ends: Sequence[int], vocab_size: int, strings: Sequence[str] = (), pieces: Sequence[bytes] = ()) -> None:
        steps_A256, is_whole_A = automaton([string.encode() for string in strings])
        self.end = len(steps_A256)
        self.pieces = pieces[:vocab_size]
        self.steps_A256 = steps_A256
        self.table_AV = np.repeat(np.arange(self.end + 1, dtype=np.int32)[:, None], vocab_size, 1)
        if strings:
            # Tokens that the tokenizer does not know add nothing.
            self.pieces = [*self.pieces, *[b""] * (vocab_size - len(pieces))]
            self._follow(np.where(is_whole_A[steps_A256], self.end, steps_A256))
        self.table_AV[:, list(ends)] = self.end

    def _follow(self, steps_A256: np.ndarray) -> None:
        """Take the steps of each token's bytes."""
        stays_1256 = np.full((1, 256), self.end)
        steps_A256 = np.concatenate([steps_A256, stays_1256])
        lengths_V = np.array([len(piece) for piece in self.pieces])
        longest = int(lengths_V.max())
        bytes_VL = np.frombuffer(b"".join(piece.ljust(longest, b"\0") for piece in self.pieces), np.uint8).reshape(len(lengths_V), longest)
        for place in range(longest):
            (longer,) = np.nonzero(lengths_V > place)
            self.table_AV[:, longer] = steps_A256[self.table_AV[:, longer], bytes_VL[longer, place]]

    def begin(self, prompt_BT: np.ndarray) -> np.ndarray:
        """The state after each prompt: a stop string may begin there. One that is whole in the prompt stops nothing."""
        states_B = np.zeros(len(prompt_BT), np.int32)
        if self.end > 1:
            for row, prompt in enumerate(prompt_BT):
                for byte in b"".join(self.pieces[token] for token in prompt):
                    states_B[row] = self.steps_A256[states_B[row], byte]
        return states_B


def automaton(strings: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """For each state and byte the next state, and whether a state has just seen a whole string. A state is the longest
    beginning of a string that the bytes so far end in."""
    beginnings = sorted({string[:length] for string in strings for length in range(len(string) + 1)} | {b""}, key=len)
    number = {beginning: place for place, beginning in enumerate(beginnings)}
    steps_A256 = np.zeros((len(beginnings), 256), np.int32)
    is_whole_A = np.array([any(beginning.endswith(string) for string in strings) for beginning in beginnings])
    for place, beginning in enumerate(beginnings):
        # Any other byte leads to the start.
        for byte in set(b"".join(strings)):
            seen = beginning + bytes([byte])
            steps_A256[place, byte] = next(number[seen[cut:]] for cut in range(len(seen) + 1) if seen[cut:] in number)
    return steps_A256, is_whole_A


def build_stops(ends: Sequence[int], vocab_size: int, strings: Sequence[str], tokenizer: Any) -> Stops:
    """The automaton for these settings. Raises UserError for stop strings without a tokenizer to read them with."""
    if not strings:
        return Stops(ends, vocab_size)
    if tokenizer is None:
        raise UserError(f"stop_strings={list(strings)} are text; give tokenizer=, the one that made the ids")
    tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer(tokenizer)
    return Stops(ends, vocab_size, strings, tokenizer.pieces())
