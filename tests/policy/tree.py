"""What every policy test shares: the files of the tree, and how a broken rule is told."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = {".c", ".cpp", ".h", ".def"}


def files(*suffixes):
    """Paths from the root of every file that is, or would be, in git; with suffixes, of those kinds alone."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:  # an unpacked archive
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
                 if path.is_file() and path.relative_to(ROOT).parts[0] not in (".git", "build")]
    paths = sorted(pathlib.PurePosixPath(name) for name in set(names) if (ROOT / name).is_file())
    return [path for path in paths if not suffixes or path.suffix in suffixes]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def run(*command):
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def conclude(rule, broken, looked_at):
    """Ends the test: prints each broken place, or how much was looked at. A rule that saw nothing is broken too."""
    if not looked_at:
        sys.exit(f"{rule}: nothing was looked at")
    for place in broken:
        print(place)
    if broken:
        sys.exit(f"{rule}: broken in {len(broken)} place(s)")
    print(f"{rule}: holds ({looked_at} looked at)")
