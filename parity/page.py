"""The report as one HTML file that needs nothing beside it: words, picture, tables."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

from parity.compare import Column
from parity.examine import Report
from parity.picture import svg
from parity.report import describe, details, headlines, name, number, own_name, rule, verdict
from weight_mapping.text_files import whole_file

NEWLINE = "\n"
STYLE = """
:root { --ink: #1c2430; --soft: #6b7280; --line: #e5e7eb; --good: #1b7f5a; --bad: #c1121f; --paper: #ffffff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f7; color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1120px; margin: 32px auto; padding: 36px 44px; background: var(--paper); border-radius: 12px;
  box-shadow: 0 1px 3px rgb(0 0 0 / 0.12); }
h1 { margin: 0; font-size: 25px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { margin: 34px 0 8px; font-size: 17px; }
p.about { margin: 4px 0 22px; color: var(--soft); }
ul.verdicts { list-style: none; margin: 0 0 18px; padding: 0; }
ul.verdicts li { margin: 6px 0; padding: 9px 14px; border-left: 5px solid var(--good); background: #eef8f3; border-radius: 4px; }
ul.verdicts li.bad { border-color: var(--bad); background: #fdf0f0; }
pre { margin: 0 0 8px; padding: 12px 14px; background: #f7f8fa; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, monospace; }
figure { margin: 18px 0 0; }
figure svg { width: 100%; height: auto; display: block; }
figcaption, p.note { color: var(--soft); font-size: 13px; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { font-weight: 600; border-bottom-width: 2px; }
thead tr:first-child th { border-bottom: none; text-align: center; }
thead tr:first-child th:first-child { text-align: left; }
td.soft { color: var(--soft); }
td.first, th.first { border-left: 1px solid var(--line); }
td.agrees, td.rounds { color: var(--good); text-align: left; }
td.parts, td.apart { color: var(--bad); text-align: left; }
td.parts { font-weight: 700; }
tr.parted td { background: #fdf0f0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0 0 18px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
"""


def write_page(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the file whole, or not at all."""
    with whole_file(Path(path)) as temporary:
        temporary.write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The whole HTML."""
    comparison = report.comparison
    verdicts = "".join(f'<li class="{"good" if agrees else "bad"}">{escape(line)}</li>' for agrees, line in headlines(report))
    notes = {f"note {index}": note for index, note in enumerate(report.notes, start=1)}
    about = {"reference": report.reference, "input": report.question} | notes
    facts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in about.items())
    found = "\n".join(details(report))
    caption = "Depth from left to right; each line up is ten times as far from the reference. Within the green the difference is rounding."
    last = " A stack's last layer is taken after its final norm." if report.config.norm.placement != "after" else ""
    gradients = any(column.gradients for column in comparison.columns)
    parts = [
        f"<h1>{escape(report.options.checkpoint)}</h1>",
        f'<p class="about">{escape(describe(report))}</p>',
        f'<ul class="verdicts">{verdicts}</ul>',
        f"<pre>{escape(found)}</pre>" if found else "",
        f"<dl>{facts}</dl>",
        f"<figure>{svg(report)}<figcaption>{caption}</figcaption></figure>",
        f"<h2>Layer by layer</h2>{table(report, gradients=False)}",
        f'<p class="note">u: one unit in the last place of the largest value, {comparison.dtype}. {escape(rule(comparison))}{last}</p>',
        f"<h2>Gradients, the worst tensor of each layer</h2>{table(report, gradients=True)}" if gradients else "",
    ]
    title = f"{escape(report.options.checkpoint)}: {'all agree' if report.agrees else 'not all agree'}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{NEWLINE.join(filter(None, parts))}
</main>
</body>
</html>
"""


def table(report: Report, gradients: bool) -> str:
    """The same table as on the terminal."""
    comparison = report.comparison
    own = comparison.rounding
    heads = ["<th></th>", *([f"<th>{escape(own_name(report))} in float32</th>"] if own else []), "<th>allowed</th>"]
    heads += [f'<th class="first" colspan="4">{escape(column.name)}</th>' for column in comparison.columns]
    kinds = [f"<th>{'tensor' if gradients else 'layer'}</th>", *(["<th>u</th>"] if own else []), "<th>u</th>"]
    kinds += ['<th class="first">largest</th><th>relative</th><th>u</th><th></th>'] * len(comparison.columns)
    rows = []
    for place in comparison.columns[0].gradients if gradients else comparison.places:
        verdicts = [verdict(report, column, place, gradients) for column in comparison.columns]
        cells = [f"<td>{escape(name(place, comparison.columns, gradients))}</td>"]
        if own:
            cells.append(f'<td class="soft">{number(_of(own, gradients)[place].units)}</td>')
        cells.append(f'<td class="soft">{number(_of(comparison.columns[0], gradients)[place].allowed_units)}</td>')
        for column, what in zip(comparison.columns, verdicts, strict=True):
            distance = _of(column, gradients)[place]
            cells.append(f'<td class="first">{number(distance.largest)}</td><td>{number(distance.relative)}</td>')
            cells.append(f'<td>{number(distance.units)}</td><td class="{what.split()[0]}">{what}</td>')
        parted = ' class="parted"' if any("parts" in what for what in verdicts) else ""
        rows.append(f"<tr{parted}>{''.join(cells)}</tr>")
    head = f"<thead><tr>{''.join(heads)}</tr><tr>{''.join(kinds)}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _of(column: Column, gradients: bool) -> dict:
    return column.gradients if gradients else column.distances
