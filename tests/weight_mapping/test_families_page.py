"""The tables in docs/families.md are the tables in weight_mapping/families, for every family that is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from weight_mapping.family import Family

PAGE = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
# Named below the tables, where they are tied.
TIED = (("decoder.embeddings.token.weight",), ("head.weight",))
Line = tuple[str, tuple[str, ...], str]


def lines() -> Iterator[Line]:
    """Each line of the page's tables as name in the file, canonical names, operations; a line with {weight,bias} is two."""
    for canonical, source, operations in re.findall(r"^\| `(.+?)` \|[^|]*\| `(.+?)` \| ?(.*?) ?\|$", PAGE, flags=re.MULTILINE):
        operations = "" if operations.startswith("(") else operations
        for kind in ("weight", "bias") if "{weight,bias}" in source else ("",):
            target = canonical.replace("{weight,bias}", kind)
            several = re.search(r"\{(\w+(?:,\w+)+)\}", target)
            parts = [target.replace(several[0], part) for part in several[1].split(",")] if several else [target]
            yield source.replace("{weight,bias}", kind), tuple(parts), operations


def test_the_page_agrees_with_the_table(family: Family) -> None:
    page = set(lines())
    for rule in family.rules:
        is_in_a_table = (rule.source, rule.targets, ", ".join(operation.name for operation in rule.operations)) in page
        assert is_in_a_table or (rule.targets in TIED and f"`{rule.source}`" in PAGE), rule.source


def test_the_page_is_read_whole() -> None:
    assert len(set(lines())) > 300
