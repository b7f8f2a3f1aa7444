"""UF2 files for the RP2040: made from a flash image, and looked into.

The format is Microsoft's: blocks of 512 bytes with 256 bytes of flash content each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

FLASH_START = 0x10000000
FAMILIES = {
    0xE48BFF56: "RP2040",
    0xE48BFF59: "RP2350",
    0xE48BFF58: "RP2350",
    0x1C5F21B0: "ESP32",
    0xBFDD4EEE: "ESP32-S2",
    0xC47E5767: "ESP32-S3",
}
_RP2040 = 0xE48BFF56
_PAYLOAD = 256
_START0, _START1, _END = 0x0A324655, 0x9E5D5157, 0x0AB16F30
_FAMILY_PRESENT = 0x2000


def encode(flash: bytes, also: Mapping[int, bytes] | None = None) -> bytes:
    """The UF2 file that puts `flash` at the start of an RP2040's flash, and `also` whole pages of
    256 bytes at other offsets."""
    parts = {start: flash[start : start + _PAYLOAD] for start in range(0, len(flash), _PAYLOAD)}
    parts |= also or {}
    count = len(parts)
    blocks = []
    for index, (start, part) in enumerate(sorted(parts.items())):
        head = struct.pack(
            "<8I",
            _START0,
            _START1,
            _FAMILY_PRESENT,
            FLASH_START + start,
            _PAYLOAD,
            index,
            count,
            _RP2040,
        )
        data = part.ljust(_PAYLOAD, b"\0")
        blocks.append(head + data.ljust(476, b"\0") + struct.pack("<I", _END))
    return b"".join(blocks)


def family(uf2: bytes) -> str:
    """Which chip a UF2 file is for; ValueError says why it is none."""
    if len(uf2) < 512 or len(uf2) % 512:
        raise ValueError("not a UF2 file: its length is not a multiple of 512")
    start0, start1, flags, *_, kind = struct.unpack_from("<8I", uf2)
    if (start0, start1) != (_START0, _START1):
        raise ValueError("not a UF2 file: the magic numbers are missing")
    if not flags & _FAMILY_PRESENT:
        raise ValueError("a UF2 file that does not say which chip it is for")
    return FAMILIES.get(kind, f"an unknown chip (family {kind:#010x})")
