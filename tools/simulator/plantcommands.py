"""The `sim` commands of a truck that exports power: utility, transfer switch, home, car, inverter,
battery. Called by commands.py, for boards with `power` only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tools.simulator import loads
from tools.simulator.car import FAULTS
from tools.simulator.home import Day
from tools.simulator.utility import Inverter
from tools.simulator.wiring import CONTACTS, SimError, choose
from tools.simulator.words import Parameters, number, only, split

if TYPE_CHECKING:
    from tools.simulator.truck import Truck

_DAY = ("kwh", "day_s", "start_h")


def _usage(verb: str) -> SimError:
    return SimError("usage: sim " + ", ".join(COMMANDS[verb][1].split("\n")))


def _within(name: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise SimError(f"{name}={value:g} is outside {low:g} to {high:g}")
    return value


# -- the utility ----------------------------------------------------------------------------------


def _grid(truck: Truck, words: list[str]) -> str:
    plain, parameters = split(words)
    plant, now = truck.plant, truck.now_us
    grid = plant.grid
    only(parameters, ("sag", "swell", "ms", "drift", "thd"), "grid")
    verb = plain[0] if plain else ""
    values = [number("grid", word) for word in plain[1:]]
    duration = parameters.get("ms")
    if duration is not None and duration <= 0:
        raise SimError("grid: ms= must be more than 0")
    if not plain and len(parameters.keys() & {"sag", "swell"}) == 1:
        percent = parameters.get("sag", parameters.get("swell", 0.0))
        grid.disturb(percent, 200.0 if duration is None else duration, now)
        plant.at(grid.restore_us, lambda t: _restore(truck, t))
    elif not plain and "thd" in parameters:
        grid.set_thd(parameters["thd"])
    elif verb in ("on", "off") and not values:
        grid.island = False
        grid.set_on(verb == "on", now)
        if verb == "on" and "island" in truck.input_levels:
            truck.input_levels["island"] = 0
        if verb == "off" and duration is not None:
            plant.at(now + round(duration * 1000), lambda t: _return(truck, t))
    elif verb == "volts" and len(values) in (1, 2):
        grid.set_legs(values[0], values[-1])
    elif verb == "hz" and len(values) == 1:
        grid.set_hz(values[0], now)
    elif verb == "phase" and len(values) == 1:
        grid.set_phase(truck.supply.cycles(now) + values[0] / 360.0, now)
    elif verb == "flicker" and len(values) == 2:
        times = int(_within("flicker times", values[0], 1, 1000))
        span_us = round(_within("flicker ms", values[1], 1, 1e6) * 1000)
        for n in range(2 * times):
            on = n % 2 == 1
            plant.at(now + n * span_us, lambda t, on=on: _switch(truck, on, t))
        return f"grid: goes {times} times, for {values[1]:g} ms each"
    elif verb == "island" and not values:
        plant.start_island(parameters.get("drift", 0.3), now)
    else:
        raise _usage("grid")
    plant.after_grid(now)
    return (
        f"grid: {grid.leg_volts(0):.1f} {grid.leg_volts(1):.1f} V, {grid.hz:g} Hz"
        f"{', an island' if grid.island else ''}{'' if grid.alive else ', dead'}"
    )


def _restore(truck: Truck, t_us: int) -> None:
    if truck.plant.grid.restore_us <= t_us:
        truck.plant.grid.restore()
        truck.plant.after_grid(t_us)


def _return(truck: Truck, t_us: int) -> None:
    _switch(truck, True, t_us)


def _switch(truck: Truck, on: bool, t_us: int) -> None:
    truck.plant.grid.set_on(on, t_us)
    truck.plant.after_grid(t_us)


# -- the transfer switch and the home -------------------------------------------------------------


def _lie(truck: Truck, words: list[str]) -> str:
    if len(words) != 2:
        raise _usage("lie")
    name = choose("contact", truck.wiring.relay_of(words[0]), CONTACTS)
    what = choose("lie", words[1], ("open", "closed", "no"))
    if what == "no":
        truck.plant.lies.pop(name, None)
        return f"{name}: its auxiliary contact tells the truth"
    truck.plant.lies[name] = what == "closed"
    return f"{name}: its auxiliary contact says {what}"


def _neutral(truck: Truck, words: list[str]) -> str:
    if len(words) != 1:
        raise _usage("neutral")
    what = choose("neutral", words[0], ("switched", "solid"))
    truck.plant.switched_neutral = what == "switched"
    truck.changed()
    return f"neutral: {what}"


def _home(truck: Truck, words: list[str]) -> str:
    plain, parameters = split(words)
    home = truck.plant.home
    verb = plain[0] if plain else "state"
    if verb == "load" and 2 <= len(plain) <= 3:
        return _home_load(truck, plain, parameters)
    only(parameters, (), "home")
    if verb == "unload" and len(plain) <= 2:
        if len(plain) == 2:
            choose("load of the home", plain[1], home.loads)
        home.unplug(plain[1] if len(plain) == 2 else None)
        return f"home: {' '.join(home.loads) or 'nothing on'}"
    if plain:
        raise _usage("home")
    t = truck.plant.truth(truck.now_us)["home"]
    return f"home: fed by {t['feed']}, {' '.join(t['loads']) or 'nothing on'}"


def _home_load(truck: Truck, plain: list[str], parameters: Parameters) -> str:
    name = plain[1]
    where = choose("place", plain[2], ("l1", "l2", "both")) if len(plain) == 3 else ""
    load: loads.Load
    if name == "day":
        only(parameters, _DAY, "day")
        if where not in ("", "both"):
            raise SimError("day: it is the whole home's, on both legs")
        for what, value in parameters.items():
            _within(what, value, 0.0 if what == "start_h" else 1e-6, 1e6)
        leg, load = 2, Day(2, **parameters)
    else:
        appliance = loads.APPLIANCES.get(name)
        if not where:
            where = "both" if appliance is not None and appliance.volts == 240 else "l1"
        leg = ("l1", "l2", "both").index(where)
        load = loads.build(name, f"home {where}", 2 if leg == 2 else 1, parameters)
    return f"home: {truck.plant.home.plug(name, leg, load)} on {where or 'both'}"


# -- the car --------------------------------------------------------------------------------------


def _car(truck: Truck, words: list[str]) -> str:
    plain, parameters = split(words)
    car, now = truck.plant.car, truck.now_us
    verb = plain[0] if plain else ""
    limits = {
        "max_a": (0.0, 80.0),
        "kwh": (0.01, 1000.0),
        "percent": (0.0, 100.0),
        "follow_s": (0.0, 60.0),
        "ramp_a_per_s": (0.1, 1000.0),
    }
    if verb == "unplug" and len(plain) == 1:
        only(parameters, ("parts_ms",), "car unplug")
        car.unplug(now, _within("parts_ms", parameters.get("parts_ms", 100.0), 5, 10_000))
    elif verb in ("plug", "set", "fault", "ready"):
        only(parameters, tuple(limits), "car")
        for name, value in parameters.items():
            _within(name, value, *limits[name])
        if verb == "fault":
            if len(plain) != 2:
                raise _usage("car")
            car.set_fault(choose("fault of the car", plain[1], FAULTS))
        elif verb == "ready":
            if len(plain) != 2:
                raise _usage("car")
            car.ready = choose("car ready", plain[1], ("on", "off")) == "on"
        elif len(plain) != 1:
            raise _usage("car")
        if verb == "plug":
            car.plug(now)
        for name, value in parameters.items():
            setattr(car, name, value)
    else:
        raise _usage("car")
    return f"car: {car.words()}"


# -- inverter and battery -------------------------------------------------------------------------


def _inverter(truck: Truck, words: list[str]) -> str:
    plain, parameters = split(words)
    inverter = truck.plant.inverter
    limits = {
        "rating": (100.0, 50_000.0),
        "start_ms": (100.0, 60_000.0),
        "cease_ms": (0.0, 60_000.0),
        "detect_ms": (1.0, 60_000.0),
        "ramp": (1.0, 1e6),
    }
    if len(plain) > 1 or not (plain or parameters):
        raise _usage("inverter")
    only(parameters, tuple(limits), "inverter")
    for name, value in parameters.items():
        _within(name, value, *limits[name])
    if plain:
        inverter.fault = choose("inverter state", plain[0], inverter.FAULTS)
    names = {"rating": "rating_w", "ramp": "ramp_w_per_s"}
    for name, value in parameters.items():
        setattr(inverter, names.get(name, name), value)
    inverter.update(truck.now_us)
    return f"inverter: {inverter.state}, {inverter.fault}, rating {inverter.rating_w:g} W"


def _import(truck: Truck, words: list[str]) -> str:
    if len(words) != 1:
        raise _usage("import")
    watts = 0.0 if words[0] == "off" else number("import", words[0])
    inverter = truck.plant.inverter
    inverter.import_w = _within("import", watts, 0.0, inverter.rating_w)
    inverter.update(truck.now_us)
    return f"import: {watts:g} W from the grid, inverter {inverter.state}"


def _battery(truck: Truck, words: list[str]) -> str:
    plain, parameters = split(words)
    if len(plain) not in (0, 2) or not (plain or parameters):
        raise _usage("battery")
    only(parameters, ("loss",), "battery")
    battery = truck.plant.battery
    loss = _within("loss", parameters.get("loss", battery.loss * 100.0), 0.0, 50.0)
    if plain:
        kwh = _within("kWh", number("kWh", plain[0]), 0.001, 10_000.0)
        percent = _within("percent", number("percent", plain[1]), 0.0, 100.0)
        truck.plant.fill(kwh, percent)
    battery.loss = loss / 100.0
    return f"battery: {battery.kwh:g} kWh, {battery.percent:.1f} %"


Command = Callable[["Truck", list[str]], str]
# usage and text: a line for each form
COMMANDS: dict[str, tuple[Command, str, str]] = {
    "grid": (
        _grid,
        (
            "grid on|off [ms=]\ngrid volts <L1> [L2]\ngrid hz <Hz>\ngrid phase <degrees>\n"
            "grid sag=|swell= [ms=]\ngrid flicker <times> <ms>\ngrid island [drift=0.3]"
        ),
        (
            "the utility, at the transfer switch\nlevel of its legs\nfrequency: its phase drifts\n"
            "ahead of the vehicle\npercent\ngoes and comes back\n"
            "nobody feeds it but the inverter; Hz a second"
        ),
    ),
    "lie": (_lie, "lie grid|source|bond open|closed|no", "what its auxiliary contact says"),
    "neutral": (_neutral, "neutral switched|solid", "by the transfer switch, or not"),
    "home": (
        _home,
        (
            "home load <load> [l1|l2|both] [name=value ...]\nhome load day [kwh= day_s=]\n"
            "home unload [load]"
        ),
        "switch something on in the home\na household's day, 30 kWh in 86400 s\noff again",
    ),
    "car": (
        _car,
        "car plug|set [max_a= kwh= percent= follow_s= ramp_a_per_s=]\ncar unplug [parts_ms=100]\n"
        "car ready on|off\ncar fault " + "|".join(FAULTS),
        "the car at the 240 V outlet\nits pilot parts first\nwhether it wants current\n",
    ),
    "inverter": (
        _inverter,
        "inverter ok|no_cease|over|blind\ninverter rating=|start_ms=|cease_ms=|detect_ms=|ramp=",
        "what exports: goes on, too much, sees no island\nW, ms, W/s",
    ),
    "import": (_import, "import <W>|off", "the vehicle charges from the grid"),
    "battery": (_battery, "battery <kWh> <percent> [loss=6]", "of the vehicle; loss in percent"),
}

# their second words
WORDS: dict[str, list[str]] = {
    "grid": ["on", "off", "volts", "hz", "phase", "flicker", "island", "sag=", "swell=", "thd="],
    "lie": list(CONTACTS),
    "neutral": ["switched", "solid"],
    "home": ["load", "unload"],
    "car": ["plug", "set", "unplug", "ready", "fault"],
    "inverter": [*Inverter.FAULTS, "rating=", "start_ms=", "cease_ms=", "detect_ms=", "ramp="],
    "import": ["off"],
}
