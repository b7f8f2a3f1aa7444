"""What docs/mqtt.md says of Homie: measured with a draft that would work."""

from __future__ import annotations

import copy
import json
import re

from host_tests.micropython.running import ROOT
from tools.bench import homie, homie_draft
from tools.fleet.record import record


def test_the_draft_describes_what_it_says_and_says_what_changes() -> None:
    state = record().state
    text = "".join(homie_draft.description("Tailgate", 1, state))
    nodes = json.loads(text)["nodes"]
    values = homie_draft.Values("homie/5/tailgate-210b2f/", state)
    said = dict(values.changed(state))
    described = set()
    for node, entry in nodes.items():
        for name, about in entry["properties"].items():
            assert re.fullmatch("[a-z0-9-]+", node) and re.fullmatch("[a-z0-9-]+", name)
            topic = f"homie/5/tailgate-210b2f/{node}/{name}"
            described.add(topic)
            value = said[topic]
            if about["datatype"] == "float":
                float(value)
            elif about["datatype"] == "integer":
                int(value)
            elif about["datatype"] == "boolean":
                assert value in ("true", "false")
            elif about["datatype"] == "enum":
                assert value in about["format"].split(",")
            else:
                assert about["datatype"] == "string"
    assert described == set(said)
    assert not list(values.changed(state))
    later = copy.deepcopy(state)
    later["outlets"]["bed1"]["on"] = not state["outlets"]["bed1"]["on"]
    [(topic, value)] = values.changed(later)
    assert topic.endswith("/bed1/on") and value == str(later["outlets"]["bed1"]["on"]).lower()
    assert values.command(topic + "/set", "true") == ("on", "bed1")
    assert values.command(topic.replace("/on", "/limit-a") + "/set", "12") == (
        "set",
        "bed1.limit_a",
        "12",
    )
    assert values.command(topic.replace("/on", "/power-w") + "/set", "12") is None


def test_the_page_says_what_it_costs() -> None:
    figures = homie.measure()
    page = (ROOT / "docs" / "mqtt.md").read_text()
    found = re.search(r"`python -m tools.bench.homie`\): ([\d.]+) KB .* ([\d.]+) KB of heap", page)
    assert found, "docs/mqtt.md does not say what Homie would cost"
    code, heap = (float(text) * 1000 for text in found.groups())
    assert abs(figures["code_bytes"] - code) <= 100
    assert abs(figures["heap_loaded_bytes"] + figures["heap_kept_bytes"] - heap) <= 200
    assert f"{figures['retained_topics']} retained topics" in page
    assert figures["unchanged_sent"] == 0
