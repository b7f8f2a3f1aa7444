"""`const` is inlined within one module only, so layouts are repeated: the copies must agree.

Every `NAME = const(...)` (with or without a leading underscore) of the followers must have the
value that the defining module gives to it, unless the name is the follower's own.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "firmware"
KERNEL = "sensing/kernel.py"
REDUCE = "sensing/reduce.py"
THERMAL = "protection/thermal.py"
STAGES = "protection/stages.py"
CHECKS = "selftest_report.py"

# follower -> who defines what it repeats
COPIES = {
    "sensing/kernel_viper.py": (KERNEL,),
    "sensing/reduce_viper.py": (REDUCE,),
    "protection/thermal.py": (THERMAL, REDUCE),
    "protection/thermal_viper.py": (THERMAL,),
    "hal/fastlane.py": (KERNEL,),
    "hal/portable.py": (KERNEL,),
    "hal/rp2.py": (KERNEL,),
    "sensing/metering.py": (KERNEL, REDUCE),
    "sensing/capture.py": (KERNEL, REDUCE),
    "sensing/plausibility.py": (REDUCE,),
    "sensing/gridsense.py": (KERNEL, REDUCE),
    "gangs.py": (REDUCE, "protection/relays.py", "controller.py"),
    "protection/gangdispatch.py": ("protection/dispatch.py",),
    "sensing/calibration.py": (REDUCE,),
    "sensing/phase.py": (KERNEL, REDUCE),
    "controller.py": (REDUCE, THERMAL, "protection/outlet.py"),
    "selftest.py": (KERNEL, REDUCE, THERMAL, STAGES, "hal/memory.py", CHECKS),
    "selftest_slow.py": (REDUCE, "hal/memory.py", CHECKS),
    "hal/memory_viper.py": ("hal/memory.py",),
    "report.py": (REDUCE,),
    "conditions.py": (REDUCE, "protection/stages.py"),
    "conditions_setup.py": (REDUCE,),
    "switching.py": (REDUCE, "protection/relays.py"),
    "switching_setup.py": ("protection/relays.py",),
    "power/charger.py": (REDUCE, STAGES),
    "protection/dispatch.py": (THERMAL,),
    "admission.py": ("protection/dispatch.py",),
    "storage/journal.py": ("storage/strip.py",),
    "storage/keeper_files.py": ("storage/keeper.py",),
    "storage/keeper_setup.py": ("storage/keeper_files.py",),
    "storage/quiet.py": (KERNEL, THERMAL, "protection/stages.py"),
}
# words by which a repeated name is known, in case its definition has gone
LAYOUT = re.compile(
    r"^(B|C|W|M|T|F)_[A-Z0-9_]+$|^(MERGE_SHIFT|(HEAD|CH)_WORDS|SLOT_(HEAD|CH)|OPENED)$"
)


def constants(path: str) -> dict[str, int]:
    """Every module-level `NAME = const(...)`, without leading underscores."""
    values: dict[str, int] = {}
    for node in ast.parse((ROOT / path).read_text()).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        function = node.value.func
        if isinstance(function, ast.Name) and function.id == "const":
            name = node.targets[0]
            assert isinstance(name, ast.Name)
            code = compile(ast.Expression(node.value.args[0]), path, "eval")
            values[name.id.lstrip("_")] = eval(code, {})
    return values


@pytest.mark.parametrize("follower", COPIES)
def test_repeated_constants_are_equal(follower: str) -> None:
    defined: dict[str, int] = {}
    for path in COPIES[follower]:
        defined.update(constants(path))
    compared = 0
    for name, value in constants(follower).items():
        if name in defined:
            assert value == defined[name], f"{follower}: {name}"
            compared += 1
        else:
            assert not LAYOUT.match(name), f"{follower}: {name} is not defined"
    if not follower.endswith("rp2.py"):
        assert compared


@pytest.mark.parametrize(
    ("definition", "twin"),
    [
        (KERNEL, "sensing/kernel_viper.py"),
        (REDUCE, "sensing/reduce_viper.py"),
        (THERMAL, "protection/thermal_viper.py"),
    ],
)
def test_a_twin_repeats_the_whole_layout(definition: str, twin: str) -> None:
    repeated = constants(twin)
    for name, value in constants(definition).items():
        assert repeated.get(name) == value, name


def test_words_are_dense_and_distinct() -> None:
    """No two words of a block share a place, and none is left out."""
    kernel = constants(KERNEL)
    channel = {k: v for k, v in kernel.items() if k.startswith("C_")}
    assert sorted(channel.values()) == list(range(kernel["CH_WORDS"]))
    names = [k for k in kernel if "_" not in k or k.split("_")[0] not in ("C", "W", "CH", "SLOT")]
    header = [kernel[k] for k in names if k not in ("HEAD_WORDS", "MERGE_SHIFT", "MERGE_MAX")]
    assert sorted(header) == list(range(kernel["HEAD_WORDS"]))
    reduce = constants(REDUCE)
    words = {k: v for k, v in reduce.items() if k.startswith("M_") and k != "M_WORDS"}
    assert sorted(words.values()) == list(range(reduce["M_WORDS"]))
    thermal = constants(THERMAL)
    words = {k: v for k, v in thermal.items() if k.startswith("T_") and k != "T_WORDS"}
    assert sorted(words.values()) == list(range(thermal["T_WORDS"]))
