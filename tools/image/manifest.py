# What is frozen into the image; read by MicroPython's build (makemanifest.py), not run by hand.
# TAILGATE_TREE names the folder with boot.py, main.py, firmware/ and lib/ (tools/image/build.py
# sets it); empty means MicroPython alone. TAILGATE_LEAVE_OUT: paths in there that stay out,
# because this chip never loads them.
#
# The port looks for a frozen boot.py and main.py before it looks at the file system, so they run
# whatever the file system holds, or when it holds nothing.
import os

_tree = os.environ.get("TAILGATE_TREE", "")
_leave_out = os.environ.get("TAILGATE_LEAVE_OUT", "").split()

freeze("$(PORT_DIR)/modules", "rp2.py")  # noqa: F821
include("$(MPY_DIR)/extmod/asyncio")  # noqa: F821
freeze("modules")  # noqa: F821

if _tree:
    for _name in ("boot.py", "main.py"):
        if os.path.exists(os.path.join(_tree, _name)):
            module(_name, base_path=_tree)  # noqa: F821
    for _name in ("firmware", "lib"):
        _top = os.path.join(_tree, _name)
        _files = []
        for _folder, _, _names in sorted(os.walk(_top)):
            for _file in sorted(_names):
                _path = os.path.relpath(os.path.join(_folder, _file), _top).replace(os.sep, "/")
                if _path.endswith(".py") and _name + "/" + _path not in _leave_out:
                    _files.append(_path)
        if _files:
            package(_name, files=_files, base_path=_tree)  # noqa: F821
