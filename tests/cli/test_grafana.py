"""The dashboard for Grafana as a document; its expressions are asked in monitor/test_prometheus."""

from __future__ import annotations

import itertools
import json

from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.cli.grafana import PANELS


def test_no_panel_covers_another_and_each_is_there_once(capsys):
    assert run(["dashboards", "grafana"]) == Exit.OK
    panels = json.loads(capsys.readouterr().out)["panels"]
    titles = [panel["title"] for panel in panels]
    assert sorted(titles) == sorted(
        [*PANELS, *(panel.title for row in PANELS.values() for panel in row)]
    )
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(place["gridPos"]["x"] + place["gridPos"]["w"] <= 24 for place in panels)
