"""The strip in the RP2040's own flash: made after the start, and what it keeps under load."""

from __future__ import annotations

from host_tests.emulator import rig


def test_a_trip_and_settings_under_load_outlast_a_power_cut() -> None:
    chip = rig.booted()
    pico = chip.pico
    pico.run(26)
    sizes = [len(data) for name, data in pico.files().items() if "strip/" in name]
    assert sizes == [4096] * 30
    chip.truck.command("plug bed1 resistive amps=15")
    rig.close(chip, "bed1")
    rig.close(chip, "cabin1")
    pico.run(3)
    rig.short(chip, "cabin1")
    pico.run(0.3)
    assert not rig.latched(pico), "bed1 carries more than half its rating: no file is written"
    assert chip.ask("set bed2.limit_a 9")["ok"]
    assert chip.ask("save")["saved"] == ["bed2.limit_a"]
    pico.power_cycle()
    pico.run(rig.BOOT_S)
    rows = rig.outlets(chip)
    assert (rows["cabin1"]["state"], rows["cabin1"]["reason"]) == ("tripped", "peak")
    assert rows["bed2"]["limit_a"] == 9
    assert [row["outlet"] for row in rig.events(chip, "tripped")] == ["cabin1"]
