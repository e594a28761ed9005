"""The report of a soak as one HTML page that needs nothing else: the verdict, and plots over time."""

from __future__ import annotations

from html import escape

import plotly.graph_objects as graph
from plotly.subplots import make_subplots

from .soak import Soak

PLOTS = (
    ("rows a second", (("rows_per_s", "rows/s"),)),
    ("seconds from source to sink", (("p50_s", "50 %"), ("p95_s", "95 %"), ("p99_s", "99 %"))),
    ("refusals and cooldowns, in each interval", (("refusals", "refusals"), ("cooldowns", "cooldowns"))),
    ("permits out, rows under way", (("permits_out", "permits out"), ("rows_open", "rows under way"))),
    ("resident memory, MB", (("memory_mb", "MB"),)),
    ("threads and descriptors", (("threads", "threads"), ("descriptors", "descriptors"))),
)
UNITS = ((86_400.0 * 2, 86_400.0, "days"), (7_200.0, 3_600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def page(soaked: Soak) -> str:
    """The report of a soak as a page."""
    _, unit_s, unit = next(each for each in UNITS if soaked.for_s >= each[0])
    at = [sample.at_s / unit_s for sample in soaked.samples]
    figure = make_subplots(
        rows=len(PLOTS), cols=1, shared_xaxes=True, vertical_spacing=0.04, subplot_titles=[p[0] for p in PLOTS]
    )
    for row, (_, lines) in enumerate(PLOTS, 1):
        for name, label in lines:
            values = [getattr(sample, name) for sample in soaked.samples]
            figure.add_trace(graph.Scatter(x=at, y=values, name=label, mode="lines"), row=row, col=1)
        figure.update_yaxes(rangemode="tozero", row=row, col=1)
    figure.update_xaxes(title_text=unit, row=len(PLOTS), col=1)
    figure.update_layout(
        height=220 * len(PLOTS), margin={"t": 40, "r": 20}, template="plotly_white", hovermode="x unified"
    )
    plots = figure.to_html(full_html=False, include_plotlyjs=True)
    findings = "\n".join(
        f"<tr class='{'well' if f.well else 'ill'}'><td>{'yes' if f.well else 'NO'}</td>"
        f"<td>{escape(f.what)}</td><td>{escape(f.figures)}</td></tr>"
        for f in soaked.findings
    )
    how = "on threads, against a real service" if soaked.real else f"in virtual time, seed {soaked.seed}"
    verdict = "nothing leaks, nothing decays" if soaked.well else "something is wrong"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Soak of {escape(soaked.scenario)}: {verdict}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse }} td {{ padding: .2rem .8rem .2rem 0; vertical-align: top }}
.ill td {{ color: #b00020; font-weight: 600 }} pre {{ background: #f6f6f6; padding: 1rem; overflow-x: auto }}
</style></head><body>
<h1>Soak of {escape(soaked.scenario)}: {verdict}</h1>
<p>{escape(soaked.shows)}</p>
<p>{soaked.for_s / unit_s:g} {unit} {how}; it took {soaked.took_s:.1f} s.</p>
<table>{findings}</table>
{plots}
<pre>{escape(str(soaked.report))}</pre>
</body></html>
"""
