# What is frozen into the image; read by MicroPython's build (makemanifest.py), not run by hand.
# TAILGATE_TREE names the folder with boot.py, main.py, firmware/ and lib/ (tools/image/build.py
# sets it); empty means MicroPython alone.
#
# The port looks for a frozen boot.py and main.py before it looks at the file system, so they run
# whatever the file system holds, or when it holds nothing.
import os

_tree = os.environ.get("TAILGATE_TREE", "")

freeze("$(PORT_DIR)/modules", "rp2.py")  # noqa: F821
include("$(MPY_DIR)/extmod/asyncio")  # noqa: F821
freeze("modules")  # noqa: F821

if _tree:
    for _name in ("boot.py", "main.py"):
        if os.path.exists(os.path.join(_tree, _name)):
            module(_name, base_path=_tree)  # noqa: F821
    if os.path.isdir(os.path.join(_tree, "firmware")):
        package("firmware", base_path=_tree)  # noqa: F821
    if os.path.isdir(os.path.join(_tree, "lib")):
        package("lib", base_path=_tree)  # noqa: F821
