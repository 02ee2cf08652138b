"""The change that makes one array of another, told in words: transposed, scaled, rounded, some rows permuted, ..."""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations

import ml_dtypes
import numpy as np

ROUNDED = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
# Two float32 numbers of which one is the other times a factor differ by the rounding of both.
FACTOR_ROUNDING = 2.0**-21
NEAR = 1e-5
FEW = 0.02
SHOWN = 3


def what_happened(found: np.ndarray, expected: np.ndarray, head_size: int | None = None) -> str | None:
    """The change that makes `found` of `expected`, in words, or None for one that is not known. Both wide enough to be compared."""
    if found.shape != expected.shape:
        return f"shape {_shape(found)} in place of {_shape(expected)}{_common_rows(found, expected)}"
    if bad := int((~np.isfinite(found)).sum()):
        return f"{count_of(bad, found)} NaN or infinite"
    if found.size > 1 and np.all(found == found.flat[0]):
        return "zeroed" if not found.any() else f"every element is {found.flat[0]:.6g}"
    if what := _rearranged(found, expected, head_size):
        return what
    for dtype in ROUNDED:
        if equal(found, rounded(found, dtype)):
            near = rounded(expected, dtype)
            if equal(found, near):
                return f"rounded to {dtype}"
            if relative_difference(found, expected) < float(ml_dtypes.finfo(dtype).eps) and (np.abs(found) <= np.abs(expected)).all():
                return f"cut off to {dtype}"
            if what := _rearranged(found, near, head_size):
                return f"{what}, and rounded to {dtype}"
    return _few(found, expected) or _scaled(found, expected)


def _rearranged(found: np.ndarray, expected: np.ndarray, head_size: int | None) -> str | None:
    """The same numbers in other places, or with other signs."""
    if equal(found, -expected):
        return "sign flipped"
    if found.ndim == 2:
        if found.shape[0] == found.shape[1] and equal(found, expected.T):
            return "transposed"
        if equal(found.ravel(), expected.T.ravel()):
            return "read in the wrong order: the transposed tensor's numbers in this shape"
        if found.shape[0] == found.shape[1] and equal(found, -expected.T):
            return "transposed, and its sign flipped"
    if found.ndim > 2:
        for axes in list(permutations(range(found.ndim)))[1:]:
            if found.shape == (turned := expected.transpose(axes)).shape and equal(found, turned):
                return f"axes swapped: in the order {', '.join(map(str, axes))}"
    if head_size and found.shape[0] % head_size == 0 and (what := _rotary_order(found, expected, head_size)):
        return what
    if equal(np.abs(found), np.abs(expected)):
        flipped = int((found != expected).sum())
        return f"sign flipped in {count_of(flipped, found)}"
    kinds = {1: ("elements",), 2: ("rows", "columns")}.get(found.ndim) or [f"along axis {axis}, places" for axis in range(found.ndim)]
    for axis, kind in enumerate(kinds):
        if (order := _permutation(found, expected, axis)) is not None:
            return _describe_permutation(order, kind)
    return None


def _rotary_order(found: np.ndarray, expected: np.ndarray, head_size: int) -> str | None:
    """Rotary pairs are rows i and i + K/2 of a head in Hugging Face's files, and rows 2i and 2i + 1 in the original Llama's."""
    heads, rest = found.shape[0] // head_size, found.shape[1:]
    halves_to_pairs = expected.reshape(heads, 2, head_size // 2, *rest).swapaxes(1, 2).reshape(found.shape)
    if equal(found, halves_to_pairs):
        return "rows of each head interleaved: rotary pairs as neighbours, in place of in halves"
    pairs_to_halves = expected.reshape(heads, head_size // 2, 2, *rest).swapaxes(1, 2).reshape(found.shape)
    if equal(found, pairs_to_halves):
        return "rows of each head in halves: rotary pairs taken apart, in place of as neighbours"
    return None


def _permutation(found: np.ndarray, expected: np.ndarray, axis: int) -> np.ndarray | None:
    """order with found = expected[order] along the axis, if there is one."""
    lines = [np.ascontiguousarray(np.moveaxis(array, axis, 0)).reshape(array.shape[axis], -1) for array in (found, expected)]
    places = defaultdict(list)
    for index, line in enumerate(lines[1]):
        places[line.tobytes()].append(index)
    order = []
    for line in lines[0]:
        candidates = places.get(line.tobytes())
        if not candidates:
            return None
        order.append(candidates.pop(0))
    return np.array(order)


def _describe_permutation(order: np.ndarray, kind: str) -> str:
    displaced = np.flatnonzero(order != np.arange(len(order)))
    if len(displaced) == 2:
        return f"{kind} {displaced[0]} and {displaced[1]} swapped"
    shift = int(order[0])
    if np.array_equal(order, np.roll(np.arange(len(order)), -shift)):
        steps = shift if shift <= len(order) // 2 else shift - len(order)
        return f"{kind} shifted by {-steps}"
    if np.array_equal(order, np.arange(len(order))[::-1]):
        return f"{kind} in reverse order"
    return f"{kind} permuted: {len(displaced)} of {len(order)} are elsewhere"


def _scaled(found: np.ndarray, expected: np.ndarray) -> str | None:
    """Times a factor, or plus a number; both more than rounding makes of a tensor."""
    rounding = FACTOR_ROUNDING * float(np.abs(found).max(initial=0.0))
    largest = int(np.abs(expected).argmax())
    factor = float(found.flat[largest] / expected.flat[largest]) if expected.flat[largest] else 1.0
    if found.size > 1 and abs(factor - 1) > 8 * FACTOR_ROUNDING and np.abs(found - factor * expected).max() <= rounding:
        return f"scaled by {factor:.6g}"
    shift = float(np.median(found - expected))
    if found.size > 2 and abs(shift) > 8 * rounding and np.abs(found - (expected + shift)).max() <= rounding:
        return f"{shift:+.6g} added to every element"
    return None


def _few(found: np.ndarray, expected: np.ndarray) -> str | None:
    changed = np.argwhere(found != expected)
    for axis, kind in enumerate(("row", "column")[: found.ndim] if found.ndim > 1 else ()):
        lines = np.unique(changed[:, axis])
        if len(changed) > SHOWN and len(lines) <= max(1, found.shape[axis] // 8):
            return f"{plural(len(lines), kind)} of {found.shape[axis]} changed: {_some(lines)}"
    if len(changed) > max(SHOWN, FEW * found.size):
        return None
    values = [f"[{', '.join(map(str, at))}] is {found[tuple(at)]:.6g} in place of {expected[tuple(at)]:.6g}" for at in changed[:SHOWN]]
    return f"{count_of(len(changed), found)} changed: {'; '.join(values)}{'; ...' if len(changed) > SHOWN else ''}"


def likeness(found: np.ndarray, expected: np.ndarray) -> str:
    """For numbers of which nothing else is known: how near they are to those that should be there."""
    lengths = float(np.linalg.norm(found) * np.linalg.norm(expected))
    cosine = float((found * expected).sum()) / lengths if lengths else 0.0
    if (far := relative_difference(found, expected)) < NEAR:
        return f"rounded otherwise, or computed again: at most {far:.1e} of the largest apart"
    return "other numbers, near these: trained on, or quantized" if cosine > 0.9 else "other numbers, unlike these"


def wide(array: np.ndarray) -> np.ndarray:
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(ROUNDED[dtype]).astype(array.dtype)


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0))
    return float(np.abs(found.astype(np.float64) - expected).max(initial=0.0)) / scale if scale else float("inf")


def sketch(array: np.ndarray) -> bytes:
    """The same for the same numbers, rounded or not."""
    return np.ascontiguousarray(array.ravel()[:8].astype(ml_dtypes.bfloat16)).tobytes()


def _common_rows(found: np.ndarray, expected: np.ndarray) -> str:
    if found.ndim != expected.ndim or found.shape[1:] != expected.shape[1:]:
        return ""
    rows = min(len(found), len(expected))
    return f"; the first {rows} rows are {'the same' if equal(found[:rows], expected[:rows]) else 'not the same either'}"


def _shape(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape))


def count_of(count: int, array: np.ndarray) -> str:
    return f"{plural(count, 'element')} of {array.size}"


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _some(numbers: np.ndarray) -> str:
    return ", ".join(map(str, numbers[:SHOWN])) + (", ..." if len(numbers) > SHOWN else "")
