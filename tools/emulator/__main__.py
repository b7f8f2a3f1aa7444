"""`python -m tools.emulator`: the firmware image on an emulated chip, in real time, in a terminal.

What is typed goes to the firmware's console by the line; a line that begins with `sim ` goes to
the simulated truck instead. `--pty` and `--tcp` let another program use the console as well.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from firmware import board as boards
from tools.emulator import EmulatedPico, EmulatorError, native
from tools.emulator.console import PtyLink, TcpLink, TerminalLink
from tools.image import build
from tools.progress import ToolError, fail, step
from tools.simulator.truck import SimError, Truck

_FLASH = build.BUILD / "emulator" / "flash.img"


class _Ended(Exception):
    """The person at the terminal is done."""


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.emulator", description=__doc__)
    parser.add_argument("--image", type=Path, help="UF2 file (default: build this firmware)")
    parser.add_argument("--board", default="pico", help="board table that the truck is wired to")
    parser.add_argument("--seed", type=int, default=0, help="of the sensors' noise")
    parser.add_argument("--mains-hz", type=float, default=60, help="60 or 50")
    parser.add_argument("--speed", type=float, default=1.0, help="1 is real time")
    parser.add_argument("--seconds", type=float, help="end after so many emulated seconds")
    parser.add_argument(
        "--flash", type=Path, default=_FLASH, help="file that keeps settings between runs"
    )
    parser.add_argument("--fresh", action="store_true", help="start with an empty flash")
    parser.add_argument("--pty", action="store_true", help="offer the console as a serial port")
    parser.add_argument("--tcp", type=int, metavar="PORT", help="offer the console on this port")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    options = _arguments(argv)
    try:
        native.prepare()
        image = options.image or build.ensure()
        board = boards.load(options.board)
        power = board.power or {}
        truck = Truck(board, seed=options.seed, mains_hz=options.mains_hz)
        if options.fresh:
            options.flash.unlink(missing_ok=True)
        options.flash.parent.mkdir(parents=True, exist_ok=True)
        pico = EmulatedPico(
            image,
            truck,
            keep_flash=options.flash,
            inputs=[*board.inputs.values(), *power.get("seen", ())],
            quiet=[*board.mux_address, *(power[x] for x in ("pilot", "set_point") if power)],
            speed=options.speed,
        )
    except (ToolError, EmulatorError, boards.BoardError) as error:
        return fail(error)

    def special(line: str) -> bool:
        words = line.strip()
        if words in ("sim quit", "sim exit"):
            raise _Ended
        if words == "sim" or words.startswith("sim "):
            try:
                print(truck.command(words[3:].strip()), flush=True)
            except SimError as error:
                print(f"sim: {error}", flush=True)
            return True
        return False

    with pico:
        terminal = TerminalLink(special)
        pico.connect(terminal)
        if options.pty:
            port = PtyLink()
            pico.connect(port)
            step(f"the console is also on {port.path}")
        if options.tcp is not None:
            server = TcpLink(options.tcp)
            pico.connect(server)
            step(f"the console is also on socket://127.0.0.1:{server.port}")
        step(f"{image.name} on an emulated RP2040; `help` asks the firmware, `sim help` the")
        step("simulator; `sim quit` or Ctrl-C ends; settings stay in " + str(options.flash))
        pico.on_reset = lambda: print("\n# the chip was reset", flush=True)
        try:
            if options.seconds:
                pico.run(options.seconds)
            else:
                while not terminal.ended:
                    pico.run(0.1)
        except (KeyboardInterrupt, _Ended):
            print()
    step(f"{pico.now_us / 1e6:.1f} emulated s in {pico.wall_s:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
