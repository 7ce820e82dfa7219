"""Every source is as clang-format would write it (`./dev fmt` does)."""

import shutil
import subprocess
import sys

import tree

SKIPPED = 77

if not shutil.which("clang-format"):
    print("skipped: clang-format is not installed (./dev fmt installs it)")
    sys.exit(SKIPPED)

paths = tree.files(".c", ".cpp", ".h")
checked = subprocess.run(["clang-format", "--dry-run", "-Werror", *map(str, paths)], cwd=tree.ROOT,
                         stdin=subprocess.DEVNULL, capture_output=True, text=True)
broken = sorted({line.split(":")[0] for line in checked.stderr.splitlines() if "[-Wclang-format-violations]" in line})
if checked.returncode != 0 and not broken:
    sys.exit(checked.stderr)
tree.conclude("format (./dev fmt)", broken, len(paths))
