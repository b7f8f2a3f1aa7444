# Run by the port before anything else, in place of the port's own _boot.py, which mounts the file
# system only. Two things come first here:
# - what is frozen goes before copies of the same modules on the file system, which a board that
#   ran the stock image before still has, and which may be old;
# - boot.py opens the relays before the flash is touched: mounting takes milliseconds, formatting
#   (an empty or broken file system) a second. The port runs boot.py once more afterwards.
import sys

sys.path.insert(0, ".frozen")
try:
    import boot

    del sys.modules["boot"], boot
except Exception:
    pass  # none is frozen (MicroPython alone), or the port's run of it shows the error

import rp2
import vfs

bdev = rp2.Flash()
try:
    fs = vfs.VfsLfs2(bdev, progsize=256)
except OSError:
    vfs.VfsLfs2.mkfs(bdev, progsize=256)
    fs = vfs.VfsLfs2(bdev, progsize=256)
vfs.mount(fs, "/")

del sys, vfs, rp2, bdev, fs
