"""A real Home Assistant core with its own MQTT integration, steered by test_home_assistant.py.

Run by the Python of tools/runtime/homeassistant.py: `instance.py FOLDER BROKER_PORT`. JSON
objects, one a line, in on stdin and out on stdout; everything else goes to stderr. There is no web
server and nothing listens: only a settings dialogue would need `http` and `file_upload`.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

from homeassistant import bootstrap, config_entries, loader
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import device_registry, entity_registry


class Complaints(logging.Handler):
    """Keeps what Home Assistant has to say about what it was sent."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(f"{record.name}: {record.getMessage()}")


def say(**fields):
    print(json.dumps(fields, default=str), flush=True)


async def start(folder, port):
    """A running core whose only integration is MQTT."""
    (Path(folder) / "configuration.yaml").touch()
    hass = HomeAssistant(folder)
    hass.config.skip_pip = True
    hass.config.components.update(("http", "file_upload"))
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    loader.async_setup(hass)
    await bootstrap.async_load_base_functionality(hass)
    if not hass.config_entries.async_entries("mqtt"):
        await hass.config_entries.async_add(
            config_entries.ConfigEntry(
                domain="mqtt",
                title="broker",
                data={"broker": "127.0.0.1", "port": port, "discovery": True},
                version=1,
                minor_version=2,
                source="user",
                unique_id=None,
                options={},
                discovery_keys={},
                subentries_data=None,
            )
        )
    else:
        entry = hass.config_entries.async_entries("mqtt")[0]
        hass.config_entries.async_update_entry(entry, data={**entry.data, "port": port})
        await hass.config_entries.async_setup(entry.entry_id)
    hass.set_state(CoreState.running)
    hass.bus.async_fire("homeassistant_started")
    await hass.async_block_till_done()
    return hass


def entities(hass):
    """The entity registry with each entity's state, by unique id."""
    found = {}
    for entry in entity_registry.async_get(hass).entities.values():
        state = hass.states.get(entry.entity_id)
        found[entry.unique_id] = {
            "entity_id": entry.entity_id,
            "name": entry.original_name,
            "disabled": entry.disabled_by is not None,
            "category": entry.entity_category,
            "device_class": entry.original_device_class,
            "state": state and state.state,
            "attributes": dict(state.attributes) if state else {},
        }
    return found


def devices(hass):
    return [
        {"name": device.name, "model": device.model, "ids": [x[1] for x in device.identifiers]}
        for device in device_registry.async_get(hass).devices.values()
    ]


async def obey(hass, complaints, order):
    what = order["do"]
    if what == "entities":
        await hass.async_block_till_done()
        say(entities=entities(hass), devices=devices(hass), complaints=complaints.texts)
    elif what == "call":
        try:
            await hass.services.async_call(
                order["domain"], order["service"], order["data"], blocking=True
            )
            say(called="")
        except Exception as error:  # told to the test
            say(called=repr(error))


async def main():
    complaints = Complaints()
    logging.getLogger("homeassistant.components").addHandler(complaints)
    hass = await start(sys.argv[1], int(sys.argv[2]))
    say(ready=hass.config_entries.async_entries("mqtt")[0].state.value)
    lines = asyncio.StreamReader()
    await hass.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        await obey(hass, complaints, json.loads(line))
    await hass.async_stop(force=True)


asyncio.run(main())
