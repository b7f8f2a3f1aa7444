"""What Homie 5 would cost a board, by a draft (homie_draft.py): `python -m tools.bench.homie`.

Its code compiled as the staged tree's is; on the i386 unix port, whose objects have the chip's
sizes, the heap that the loaded module and its memory of last values take. docs/mqtt.md quotes it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.fleet.record import record
from tools.progress import ToolError, fail, step
from tools.runtime import unix
from tools.stage import compiled

ROOT = Path(__file__).resolve().parents[2]
DRAFT = Path(__file__).with_name("homie_draft.py")
_SCRIPT = """
import gc, json, sys
with open("state.json") as stream:
    state = json.load(stream)
# what the firmware has anyway, names above all
sys.path.append(sys.argv[1])
import array, binascii, firmware.report, firmware.interfaces.discovery
gc.collect()
before = gc.mem_alloc()
import homie
gc.collect()
loaded = gc.mem_alloc()
values = homie.Values("homie/5/%s/" % state["device"], state)
gc.collect()
kept = gc.mem_alloc()
sizes = [len(part) for part in homie.description("Tailgate", 1, state)]
first = [len(topic) + len(text) for topic, text in values.changed(state)]
again = sum(1 for _ in values.changed(state))
print(json.dumps([loaded - before, kept - loaded, sum(sizes), len(first), sum(first), again]))
"""


def measure() -> dict[str, Any]:
    """Bytes and counts; ToolError when the interpreter does not run it."""
    state = record().state
    code = compiled(DRAFT.read_text(), "homie.py", "rp2040")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "state.json").write_text(json.dumps(state))
        (home / "homie.mpy").write_bytes(code)
        (home / "script.py").write_text(_SCRIPT)
        step("the draft on MicroPython")
        done = subprocess.run(
            [unix.ensure(), "script.py", ROOT],
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise ToolError(f"the draft does not run: {(done.stderr or done.stdout).strip()[-300:]}")
    loaded, kept, described, topics, first, again = json.loads(done.stdout)
    return {
        "code_bytes": len(code),
        "heap_loaded_bytes": loaded,
        "heap_kept_bytes": kept,
        "description_bytes": described,
        "retained_topics": topics,
        "first_values_bytes": first,
        "unchanged_sent": again,
    }


def main() -> int:
    """Command line: the figures as JSON."""
    try:
        print(json.dumps(measure(), indent=2))
    except ToolError as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
