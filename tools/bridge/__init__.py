"""Boards on a serial port at an MQTT broker, with the topics of docs/mqtt.md.

The firmware's own MQTT (firmware/interfaces/mqtt.py, discovery.py, lib/mqtt.py) runs here on
CPython; what it sees of the firmware is an adapter that asks the board over its console. So there
is one definition of topics, payloads and refusals. Command line: `python -m tools.bridge`.
"""
