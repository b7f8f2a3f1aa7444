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

# follower -> who defines what it repeats
COPIES = {
    "sensing/kernel_viper.py": (KERNEL,),
    "sensing/reduce_viper.py": (REDUCE,),
    "protection/thermal_viper.py": (THERMAL,),
    "hal/fastlane.py": (KERNEL,),
    "hal/portable.py": (KERNEL,),
    "hal/rp2.py": (KERNEL,),
    "sensing/metering.py": (KERNEL, REDUCE),
    "sensing/plausibility.py": (REDUCE,),
    "controller.py": (REDUCE, THERMAL),
    "report.py": (REDUCE,),
    "protection/dispatch.py": (THERMAL,),
}
# words by which a repeated name is known, in case its definition has gone
LAYOUT = re.compile(r"^(B|C|W|M|T|F)_[A-Z0-9_]+$|^(MERGE_SHIFT|(HEAD|CH)_WORDS|SLOT_HEAD|OPENED)$")
OWN = {"F_ALWAYS"}  # of controller.py: two flags together
# plausibility.py calls the flags by their own names
FLAGS = {"RAIL": "F_RAIL", "FROZEN": "F_FROZEN", "ZERO": "F_ZERO", "FLOW": "F_FLOW"}


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
        original = FLAGS.get(name, name) if follower.endswith("plausibility.py") else name
        if original in defined:
            assert value == defined[original], f"{follower}: {name}"
            compared += 1
        else:
            assert not LAYOUT.match(name) or name in OWN, f"{follower}: {name} is not defined"
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


def test_flags_that_always_count_are_rail_and_frozen() -> None:
    reduce = constants(REDUCE)
    assert constants("controller.py")["F_ALWAYS"] == reduce["F_RAIL"] | reduce["F_FROZEN"]
