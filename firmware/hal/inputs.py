# Digital inputs: ground-fault module, contactor feedback. Called by boot and on a change of
# settings (configure), and by the control task each turn (read, allocates nothing).

import machine


class Inputs:
    """The inputs of one board that are wired, by the owner's settings."""

    def __init__(self, board):
        self._board = board
        self.any = False
        self._pins = {}
        self._levels = {}

    def configure(self, name: str, level: str):
        """`level`: "high" or "low" is the level that means yes, "none": not wired.

        The pin is pulled towards yes, so that a broken wire is a ground fault, or an island.
        Feedback is pulled towards no: a broken wire is a contactor that does not follow."""
        self._pins.pop(name, None)
        self._levels.pop(name, None)
        gpio = self._board.inputs.get(name)
        if gpio is not None and level != "none":
            up = (level == "high") == (name != "contactor_feedback")
            pull = machine.Pin.PULL_UP if up else machine.Pin.PULL_DOWN
            self._pins[name] = machine.Pin(gpio, machine.Pin.IN, pull)
            self._levels[name] = 1 if level == "high" else 0
        self.any = bool(self._pins)

    def has(self, name: str) -> bool:
        """Whether it is wired."""
        return name in self._pins

    def read(self, name: str) -> int:
        """1 for yes; only for an input that is wired."""
        return 1 if self._pins[name].value() == self._levels[name] else 0
