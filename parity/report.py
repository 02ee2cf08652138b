"""The report on the terminal: a table layer by layer, and what it means in words."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parity import tolerances
from parity.compare import Column, Comparison
from parity.examine import Report
from parity.verdict import RUNS, Distance

AGREES, ROUNDS, PARTS, APART, MEASURE = "agrees", "rounds", "parts here", "apart", "the measure"
STYLES = {AGREES: "green", ROUNDS: "green", PARTS: "bold red", APART: "red", MEASURE: "dim"}
MOST_LINES = 20
ONE_FILE = "All read this one file: damage of the file itself, which they read alike, shows with --against the checkpoint it came from"


def tell(report: Report) -> None:
    """Print everything."""
    console = Console(highlight=False, soft_wrap=True)
    config, comparison = report.config, report.comparison
    console.print(f"[bold]{escape(report.options.checkpoint)}[/]  {escape(describe(report))}")
    console.print(f"reference  {escape(report.reference)}")
    console.print(f"input      {escape(report.question)}")
    for note in report.notes:
        console.print(f"note       {escape(note)}")
    wide = Console(highlight=False, width=max(console.width, 60 + 45 * len(comparison.columns)))
    wide.print(table(report, gradients=False))
    if any(column.gradients for column in comparison.columns):
        wide.print(table(report, gradients=True))
    console.print(f"u: one unit in the last place of the largest value, {comparison.dtype}.", style="dim")
    console.print(rule(comparison), style="dim")
    if config.norm.placement != "after":
        console.print("A stack's last layer is taken after its final norm.", style="dim")
    for agrees, line in headlines(report):
        console.print(escape(line), style="green" if agrees else "bold red")
    for line in details(report):
        console.print(escape(line))


def describe(report: Report) -> str:
    """The model in a few words."""
    config = report.config
    return f"{config.family}, {config.architecture.replace('_', '-')}, {config.num_layers} layers, width {config.width}"


def rule(comparison: Comparison) -> str:
    """What counts as agreement."""
    if not comparison.rounding:
        return f"Float64 agrees within {tolerances.FLOAT64:g} of the largest value."
    own = f"the reference's own float32, the furthest of {RUNS} runs"
    return f"Float32 agrees where it is no further off than twice {own}, there or before."


def own_name(report: Report) -> str:
    """What the reference is called in float32: it is a measure, and no candidate."""
    assert report.comparison.rounding
    return "the reference" if report.options.against else report.comparison.rounding.name


def table(report: Report, gradients: bool) -> Table:
    """A line a place: what is allowed, and for each implementation how far it is away."""
    comparison = report.comparison
    found = Table(header_style="bold", box=None, pad_edge=False, title_justify="left")
    found.add_column("gradients" if gradients else "layer")
    if comparison.rounding:
        found.add_column(f"{own_name(report)}\nin float32, u", justify="right", style="dim")
    found.add_column("allowed\nu", justify="right", style="dim")
    for column in comparison.columns:
        found.add_column(f"{column.name}\nlargest", justify="right")
        found.add_column("\nrelative", justify="right")
        found.add_column("\nu", justify="right")
        found.add_column("\nverdict")
    of = (lambda column: column.gradients) if gradients else (lambda column: column.distances)
    for place in of(comparison.columns[0]):
        cells = [name(place, comparison.columns, gradients)]
        if comparison.rounding:
            cells.append(number(of(comparison.rounding)[place].units))
        cells.append(number(of(comparison.columns[0])[place].allowed_units))
        for column in comparison.columns:
            distance, what = of(column)[place], verdict(report, column, place, gradients)
            cells += [number(distance.largest), number(distance.relative), number(distance.units), f"[{STYLES[what]}]{what}[/]"]
        found.add_row(*cells)
    return found


def name(place: str, columns: list[Column], gradients: bool) -> str:
    """The place; of gradients, the tensor that is furthest."""
    return max(columns, key=lambda column: column.gradients[place].relative).worst[place] if gradients else place


def verdict(report: Report, column: Column, place: str, gradients: bool) -> str:
    distances: Mapping[str, Distance] = column.gradients if gradients else column.distances
    if distances[place].agrees:
        return AGREES
    if report.rounds(column):
        return ROUNDS
    return PARTS if place == (column.first_gradient if gradients else column.first) else APART


def number(value: float) -> str:
    """A few digits, small and large ones with an exponent."""
    if value == 0.0:
        return "0"
    if 0.01 <= value < 1000:
        return f"{value:.3g}"
    digits, e, exponent = f"{value:.1e}".partition("e")
    return f"{digits}{e}{int(exponent)}" if exponent else digits


def headlines(report: Report) -> list[tuple[bool, str]]:
    """A line for each implementation, and whether it is good news."""
    comparison, lines = report.comparison, []
    if comparison.not_finite:
        lines.append((False, f"The reference itself holds NaN or infinity, first in {comparison.not_finite}: the checkpoint is broken"))
    said: dict[str, list[Column]] = {}
    for column in comparison.columns if not comparison.not_finite else ():
        if column.first and report.rounds(column):
            furthest = max(column.distances, key=lambda place: share(column.distances[place]))
            lines.append(
                (True, f"{column.name} agrees in float64; its float32 rounds more than Hugging Face's: {far(column.distances[furthest])}")
            )
            continue
        said.setdefault(column.first or column.name, []).append(column)
    lines += [(columns[0].agrees, headline(columns)) for columns in said.values()]
    if report.findings or report.differences:
        count = len({tensor for finding in report.findings for tensor in finding.names})
        parts = [plural(count, "tensor")] if count else []
        parts += [plural(len(report.differences), "config field")] if report.differences else []
        differ = "differs" if count + len(report.differences) == 1 else "differ"
        lines.append((False, f"{' and '.join(parts)} {differ} from {report.options.against}"))
    elif report.options.against:
        lines.append((True, f"Every tensor and every config field is that of {report.options.against}"))
    if count := len({tensor for finding in report.oddities for tensor in finding.names}):
        lines.append((False, f"{plural(count, 'tensor')} {'looks' if count == 1 else 'look'} damaged, whoever reads the file"))
    return lines


def summary(report: Report) -> tuple[bool, str]:
    """All headlines in one, and whether it is good news."""
    lines = headlines(report)
    if report.agrees:
        return True, f"{listed([column.name for column in report.comparison.columns])}: all {len(report.comparison.places)} places agree"
    return next((agrees, line) for agrees, line in lines if not agrees)


def headline(columns: list[Column]) -> str:
    """Whether an implementation agrees, or where it parts; several may part in the same place."""
    column = columns[0]
    if column.first:
        furthest = max((column.distances[column.first] for column in columns if column.first), key=lambda distance: distance.units)
        part = "part" if len(columns) > 1 else "parts"
        return f"{listed([column.name for column in columns])} {part} in {column.first}: {far(furthest)}"
    if column.first_gradient:
        tensor = column.worst[column.first_gradient]
        parted = f"its gradients part in {tensor}: {far(column.gradients[column.first_gradient])}"
        # Gradients that jump, such as relu's, may do so in one of two roundings.
        hint = "; --dtype float64 tells rounding from a mistake" if column.answer.dtype == "float32" else ""
        return f"{column.name} agrees going forward, and {parted}{hint}"
    if not any(distance.relative for distance in [*column.distances.values(), *column.gradients.values()]):
        return f"{column.name} is exactly equal in all {len(column.distances)} places"
    tightest = max(column.distances, key=lambda place: share(column.distances[place]))
    both = " and its gradients too" if column.gradients else ""
    return (
        f"{column.name} agrees in all {len(column.distances)} places{both}; "
        f"nearest to the limit in {tightest}, with {share(column.distances[tightest]):.2g} of it"
    )


def far(distance: Distance) -> str:
    """A distance that is too large."""
    return f"{number(distance.relative)} relative, {number(distance.units)} u where {number(distance.allowed_units)} u are allowed"


def share(distance: Distance) -> float:
    return distance.relative / distance.limit if distance.limit else 0.0


def details(report: Report) -> list[str]:
    """What differs, and the causes that were found."""
    differences = [*report.differences, *map(str, report.findings)]
    lines = some(differences)
    rounded = [column.name for column in report.comparison.columns if report.rounds(column)]
    for explanation in report.explanations:
        if explanation.agrees in rounded:
            # The headline has told it.
            continue
        told = explanation.changes == differences
        lines.append(explanation.sentence + (":" if explanation.changes and not told else ""))
        lines += some(explanation.changes) if not told else []
    lines += [f"looks odd: {finding}" for finding in report.oddities[:MOST_LINES]]
    if report.comparison.agrees and not report.options.against:
        lines.append(ONE_FILE)
    return lines


def some(lines: list[str]) -> list[str]:
    """The first of them, indented."""
    more = [f"  ... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [f"  {line}" for line in lines[:MOST_LINES]] + more


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
