"""The report as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import json
from dataclasses import asdict

from tgc.backends.files import render
from tgc.report import Report


def html(report: Report) -> bytes:
    """The page: graph, timeline, roofline, memory map, weights, and the kernels' code, which can be searched."""
    # "<" is escaped so that no name or source text can end the script element that holds the data.
    data = json.dumps(asdict(report), sort_keys=True, separators=(",", ":")).replace("<", "\\u003c")
    return render("report.html.j2", title=_escaped(f"{report.name} for {report.target}"), data=data)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
