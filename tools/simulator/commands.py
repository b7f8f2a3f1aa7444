"""The `sim ...` commands: one line in, an answer out, or a SimError of one line.

Called through Truck.command by the terminal of `make run`, by scenarios and by tests. Commands
take effect at the time of the truck's latest call.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

from tools.simulator import loads, plantcommands, recordings, sensors
from tools.simulator.wiring import SimError, choose
from tools.simulator.words import number, only
from tools.simulator.words import split as words_of

if TYPE_CHECKING:
    from tools.simulator.truck import Circuit, Truck


def run(truck: Truck, line: str) -> str:
    """Obey one command line (with or without a leading `sim`)."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise SimError(f"cannot read '{line.strip()}': {str(error).lower()}") from error
    if words and words[0] == "sim":
        words = words[1:]
    verb = words[0] if words else "help"
    known = table(truck)
    choose("simulator command", verb, known)
    return known[verb][0](truck, words[1:])


def table(truck: Truck) -> dict[str, tuple[Command, str, str]]:
    """The commands that this truck knows: those of plantcommands.py only with `power`."""
    return _COMMANDS if truck.plant is None else {**_COMMANDS, **plantcommands.COMMANDS}


def words(truck: Truck) -> dict[str, list[str]]:
    """The second words of the commands of plantcommands.py that this truck knows."""
    return {} if truck.plant is None else plantcommands.WORDS


def _usage(verb: str) -> SimError:
    return SimError(f"usage: sim {_COMMANDS[verb][1]}")


def _outlet_only(truck: Truck, words: list[str], verb: str) -> Circuit:
    if len(words) != 1:
        raise _usage(verb)
    return truck.circuit(words[0])


def _plug(truck: Truck, words: list[str]) -> str:
    plain, parameters = words_of(words)
    if len(plain) != 2:
        raise _usage("plug")
    circuit = truck.circuit(plain[0])
    load = loads.build(plain[1], circuit.name, circuit.span, parameters)
    return f"{circuit.name}: {truck.plug(circuit, plain[1], load)} plugged in"


def _play(truck: Truck, words: list[str]) -> str:
    plain, parameters = words_of(words)
    if len(plain) != 2:
        raise _usage("play")
    circuit = truck.circuit(plain[0])
    load = loads.make(plain[1], "recording", circuit.span, parameters, plain[1])
    assert isinstance(load, loads.Recorded)
    recording = load.recording
    label = truck.plug(circuit, recording.name, load)
    amps = recording.steady_rms * load.scale
    answer = (
        f"{circuit.name}: {label} plugged in, {amps:.3g} A steady, {recording.inrush:.3g} x inrush"
    )
    return f"{answer} (note: {recording.notes})" if recording.notes else answer


def _unplug(truck: Truck, words: list[str]) -> str:
    if not 1 <= len(words) <= 2:
        raise _usage("unplug")
    circuit = truck.circuit(words[0])
    if len(words) == 2:
        choose(f"load on {circuit.name}", words[1], circuit.loads)
        truck.unplug(circuit, words[1])
        return f"{circuit.name}: {words[1]} unplugged"
    truck.unplug(circuit)
    return f"{circuit.name}: nothing plugged in"


def _short(truck: Truck, words: list[str]) -> str:
    plain, parameters = words_of(words)
    circuit = _outlet_only(truck, plain, "short")
    if "short" in circuit.loads:
        truck.unplug(circuit, "short")
    truck.plug(circuit, "short", loads.make("short", "short", circuit.span, parameters))
    return f"{circuit.name}: short circuit"


def _unshort(truck: Truck, words: list[str]) -> str:
    circuit = _outlet_only(truck, words, "unshort")
    if "short" not in circuit.loads:
        raise SimError(f"{circuit.name} is not short-circuited")
    truck.unplug(circuit, "short")
    return f"{circuit.name}: short circuit removed"


def _weld(truck: Truck, words: list[str]) -> str:
    if len(words) != 1:
        raise _usage("weld")
    return _relay(truck, [words[0], "welded"])


def _stick(truck: Truck, words: list[str]) -> str:
    if len(words) != 1:
        raise _usage("stick")
    return _relay(truck, [words[0], "stuck"])


def _relay(truck: Truck, words: list[str]) -> str:
    plain, parameters = words_of(words)
    if not 1 <= len(plain) <= 2 or (len(plain) == 1 and not parameters):
        raise _usage("relay")
    name = choose("relay", truck.wiring.relay_of(plain[0]), truck.relays)
    only(parameters, ("operate_ms", "release_ms", "bounce", "weld_amps"), "relay")
    relay = truck.relays[name]
    if len(plain) == 2:
        choose("relay state", plain[1], ("ok", "welded", "stuck"))
    relay.configure(**parameters)
    if len(plain) == 2:
        truck.set_relay_fault(name, plain[1])
    truck.changed()
    return f"{name}: relay {relay.fault}, contact {'closed' if relay.closed else 'open'}"


def _sensor(truck: Truck, words: list[str]) -> str:
    plain, parameters = words_of(words)
    if not 1 <= len(plain) <= 2 or (len(plain) == 1 and not parameters):
        raise _usage("sensor")
    index = truck.wiring.channel_index(plain[0])
    only(parameters, ("gain", "offset", "noise", "phase", "dnl", "clip"), "sensor")
    sensor = truck.sensors[index]
    if len(plain) == 2:
        choose("sensor state", plain[1], sensors.FAULTS)
    sensor.configure(**parameters)
    if len(plain) == 2:
        if plain[1] == "frozen":
            truck.freeze_sensor(index)
        else:
            sensor.set_fault(plain[1])
    truck.changed()
    return (
        f"{sensor.name}: sensor {sensor.fault}, gain {sensor.gain:g}, "
        f"offset {sensor.offset:.1f}, noise {sensor.noise:g}"
    )


def _converter(truck: Truck, words: list[str]) -> str:
    if len(words) != 1:
        raise _usage("converter")
    truck.silent = choose("converter state", words[0], ("ok", "silent")) == "silent"
    return f"converter: {words[0]}"


def _supply(truck: Truck, words: list[str]) -> str:
    plain, parameters = words_of(words)
    only(parameters, ("volts", "hz", "sag", "swell", "ms", "thd", "ohms"), "supply")
    if len(plain) > 1 or not (plain or parameters):
        raise _usage("supply")
    supply, now = truck.supply, truck.now_us
    duration = parameters.get("ms")
    timed = [n for n in ("sag", "swell") if n in parameters]
    if len(timed) > 1:
        raise SimError("supply: give sag or swell, not both")
    if duration is not None and (duration <= 0 or not (timed or plain == ["off"])):
        raise SimError("supply: ms= must be more than 0, and goes with off, sag= or swell=")
    if plain:
        choose("supply state", plain[0], ("on", "off"))
    before = vars(supply).copy()
    try:
        if "volts" in parameters:
            supply.set_volts(parameters["volts"])
        if "hz" in parameters:
            supply.set_hz(parameters["hz"], now)
        if "thd" in parameters:
            supply.set_thd(parameters["thd"])
        if "ohms" in parameters:
            supply.set_ohms(parameters["ohms"])
        if plain:
            supply.set_on(plain[0] == "on", now, duration)
        if timed:
            supply.disturb(parameters[timed[0]], 200.0 if duration is None else duration, now)
    except SimError:
        vars(supply).update(before)  # all of a command or nothing of it
        raise
    truck.changed()
    return f"supply: {supply.rms:.1f} V, {supply.hz:g} Hz{'' if supply.live else ', dead'}"


def _input(truck: Truck, words: list[str]) -> str:
    if len(words) != 2:
        raise _usage("input")
    name = choose("input", words[0], truck.input_levels)
    relay = name.removesuffix("_feedback")
    if relay != name and relay in truck.relays:
        raise SimError(f"{name} follows its contact; use: sim weld {relay}, sim stick {relay}")
    choose("input level", words[1], ("0", "1"))
    truck.input_levels[name] = int(words[1])
    return f"{name}: {words[1]}"


def _gfci(truck: Truck, words: list[str]) -> str:
    if len(words) != 1:
        raise _usage("gfci")
    return _input(truck, ["gfci", *words])


def _aux_channels(truck: Truck, prefix: str = "") -> dict[str, int]:
    return {
        c.name: i
        for i, c in enumerate(truck.wiring.channels)
        if c.kind == "aux" and c.name.startswith(prefix) and c.name != "pilot"  # the car's
    }


def _temperature(truck: Truck, words: list[str]) -> str:
    probes = _aux_channels(truck, "temperature")
    if not probes:
        raise SimError(
            f"board {truck.wiring.board.name} has no temperature channel; it has: "
            f"{' '.join(truck.wiring.channel_names)}"
        )
    if not 1 <= len(words) <= 2:
        raise _usage("temperature")
    name = words[0] if len(words) == 2 else next(iter(probes))
    index = probes[choose("temperature channel", name, probes)]
    celsius = number("temperature", words[-1])
    truck.aux_mv[index] = sensors.ntc_millivolts(celsius)
    truck.changed()
    return f"{name}: {celsius:g} C, {truck.aux_mv[index]:.0f} mV"


def _aux(truck: Truck, words: list[str]) -> str:
    if len(words) != 2:
        raise _usage("aux")
    channels = _aux_channels(truck)
    index = channels[choose("aux channel", words[0], channels)]
    millivolts = number("mv", words[1])
    if not 0.0 <= millivolts <= sensors.SUPPLY_MV:
        raise SimError(f"{millivolts:g} mV is outside 0 to {sensors.SUPPLY_MV:g}")
    truck.aux_mv[index] = millivolts
    truck.changed()
    return f"{words[0]}: {millivolts:g} mV"


def _loads(truck: Truck, words: list[str]) -> str:
    lines = ["appliances:"]
    lines += [f"  {name:15} {a.volts} V  {a.summary}" for name, a in loads.APPLIANCES.items()]
    lines.append("kinds of load (any outlet):")
    lines += [f"  {name:15} {getattr(kind, 'summary', '')}" for name, kind in loads.KINDS.items()]
    return "\n".join(lines)


def _recordings(truck: Truck, words: list[str]) -> str:
    lines = []
    for name in recordings.available():
        r = recordings.load(name)
        lines.append(
            f"  {name:44} {r.steady_rms:7.3g} A steady, {r.inrush:4.1f} x inrush, "
            f"{r.mains_hz:g} Hz  {r.appliance}"
        )
    return "\n".join(lines) or "no recordings"


def _state(truck: Truck, words: list[str]) -> str:
    supply = truck.supply
    lines = [f"{truck.now_us / 1e6:.3f} s, supply {supply.rms:.1f} V {supply.hz:g} Hz"]
    for name, relay in truck.relays.items():
        circuit = next((c for c in truck.circuits if c.name == name), None)
        line = (
            f"  {name:10} coil {'on ' if relay.coil else 'off'} "
            f"contact {'closed' if relay.closed else 'open  '} relay {relay.fault:6}"
        )
        if circuit is not None:
            line += (
                f" {circuit.amps_rms:8.2f} A {circuit.watts:8.0f} W  "
                f"{' '.join(circuit.loads) or '(nothing plugged in)'}"
            )
        lines.append(line.rstrip())
    if truck.plant is not None:
        lines += truck.plant.state()
    faulty = [f"{s.name} {s.fault}" for s in truck.sensors if s.fault != "ok"]
    if truck.silent:
        lines.append("  converter: silent")
    if faulty:
        lines.append(f"  sensors: {', '.join(faulty)}")
    if truck.input_levels:
        lines.append(
            "  inputs: "
            + " ".join(
                f"{n}={truck.read_pin(g, truck.now_us)}" for n, g in truck.wiring.inputs.items()
            )
        )
    return "\n".join(lines)


def _help(truck: Truck, words: list[str]) -> str:
    rows: list[tuple[str, str]] = []
    for _, usages, texts in table(truck).values():
        rows += zip(usages.split("\n"), texts.split("\n"), strict=True)
    width = max(len(usage) for usage, _ in rows) + 2
    return "\n".join(f"  sim {usage:{width}}{text}".rstrip() for usage, text in rows)


Command = Callable[["Truck", list[str]], str]
_COMMANDS: dict[str, tuple[Command, str, str]] = {
    "plug": (_plug, "plug <outlet> <load> [name=value ...]", "plug something in, see: sim loads"),
    "play": (_play, "play <outlet> <recording> [scale=|amps=]", "plug a recorded load in"),
    "unplug": (_unplug, "unplug <outlet> [load]", "pull one load out, or all"),
    "short": (_short, "short <outlet> [ohms=0.1]", "short-circuit an outlet"),
    "unshort": (_unshort, "unshort <outlet>", "remove the short circuit"),
    "weld": (_weld, "weld <relay>", "its contact is closed for good"),
    "stick": (_stick, "stick <relay>", "its contact stays open"),
    "relay": (
        _relay,
        "relay <relay> ok|welded|stuck [operate_ms= release_ms= bounce= weld_amps=]",
        "repair or change a relay",
    ),
    "sensor": (
        _sensor,
        "sensor <name> ok|open|short|frozen|off [gain= offset= noise= phase= dnl= clip=]",
        "repair or change a sensor",
    ),
    "converter": (_converter, "converter ok|silent", "whether conversions ever end"),
    "supply": (
        _supply,
        "supply on|off [ms=] [volts= hz= thd= ohms=] [sag=|swell= ms=]",
        "percent for sag, swell, thd",
    ),
    "gfci": (_gfci, "gfci 0|1", "level of the ground-fault input"),
    "input": (_input, "input <name> 0|1", "set a digital input"),
    "temperature": (_temperature, "temperature [channel] <degrees C>", "warm the NTC"),
    "aux": (_aux, "aux <channel> <mV>", "voltage at an auxiliary input"),
    "loads": (_loads, "loads", "what can be plugged in"),
    "recordings": (_recordings, "recordings", "what can be played"),
    "state": (_state, "state", "what the truck is doing"),
    "help": (_help, "help", "this list"),
}
