"""Serial ports: which one the board is on, and why one cannot be opened."""

from __future__ import annotations

import errno

import serial
from serial.tools import list_ports

from tools.progress import ToolError

# USB vendors of boards and of the serial converters on ESP32 boards
_VENDORS = {
    0x2E8A: "Raspberry Pi",
    0x303A: "Espressif",
    0x10C4: "CP210x converter",
    0x1A86: "CH340 converter",
    0x0403: "FTDI converter",
}


def candidates() -> list[tuple[str, str]]:
    """`(port, description)` of USB serial ports that may be a board."""
    found = []
    for port in list_ports.comports():
        if port.vid in _VENDORS:
            found.append((port.device, f"{_VENDORS[port.vid]}, {port.description}"))
    return sorted(found)


def choose(port: str | None) -> str:
    """`port`, or the only board that is plugged in. ToolError lists what there is."""
    if port:
        return port
    found = candidates()
    if len(found) == 1:
        return found[0][0]
    if not found:
        raise ToolError(
            "no board was found on a USB port. Plug one in (a new one needs MicroPython first: "
            "`make flash` explains), or name its port: make deploy PORT=/dev/ttyACM0"
        )
    listing = ", ".join(f"{name} ({text})" for name, text in found)
    raise ToolError(f"there are several boards: {listing}; say which: make deploy PORT=...")


def why_not(port: str, error: Exception) -> str:
    """A sentence for a port that could not be opened."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number == errno.ENOENT or "No such file" in text:
        there = ", ".join(name for name, _ in candidates()) or "none"
        return f"there is no port {port} (boards that are plugged in: {there})"
    if number == errno.EACCES or "Permission denied" in text:
        return (
            f"{port} may not be opened: add yourself to the group that owns it "
            "(`sudo usermod -aG dialout $USER`, then log in again)"
        )
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        return f"{port} is in use: close the other program that has it open"
    return f"{port} cannot be opened: {text}"


SerialError = serial.SerialException
