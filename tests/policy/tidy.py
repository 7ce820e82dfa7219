"""clang-tidy over every source of the product, two at a time or as many as there are cores: tidy.py --build FOLDER.

A file that was clean is not looked at again until it, a header that it includes, its flags, the checks or clang-tidy change.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import tree

SKIPPED = 77
PRODUCT = ("bpf/", "preload/", "symbolizer/", "userspace/")


def headers_by_object(build):
    """What the compiler read for each object of the last build, as ninja remembers it."""
    headers, reading = {}, None
    for line in tree.run("ninja", "-C", build, "-t", "deps").splitlines():
        if line.startswith("    "):
            headers[reading].append(line.strip())
        elif ": #deps" in line:
            reading = line.split(":")[0]
            headers[reading] = []
    return headers


def stamp_of(path, build):
    """Content of a file of the tree; of a system header, only whether it changed."""
    path = build / path
    if path.is_relative_to(tree.ROOT):
        return path.read_bytes()
    about = path.stat()
    return f"{path} {about.st_size} {about.st_mtime_ns}".encode()


def object_of(command):
    words = shlex.split(command["command"])
    return words[words.index("-o") + 1]


def key_of(command, headers, common, build):
    digest = hashlib.sha256(common)
    digest.update(command["command"].encode())
    for path in [command["file"], *sorted(headers)]:
        digest.update(stamp_of(path, build))
    return digest.hexdigest()


def look_at(command, build):
    done = subprocess.run(["clang-tidy", "-quiet", "-p", build, command["file"]], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    return done.returncode == 0, done.stdout


def main():
    parser = argparse.ArgumentParser(prog="./dev tidy", description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    build = parser.parse_args().build.resolve()
    if not shutil.which("clang-tidy"):
        print("skipped: clang-tidy is not installed (./dev tidy installs it)")
        sys.exit(SKIPPED)

    clean = build / "tidy"
    clean.mkdir(exist_ok=True)
    common = tree.run("clang-tidy", "--version").encode() + (tree.ROOT / ".clang-tidy").read_bytes()
    headers = headers_by_object(build)
    commands = {command["file"]: command for command in json.loads((build / "compile_commands.json").read_text())
                if os.path.relpath(command["file"], tree.ROOT).startswith(PRODUCT)}.values()
    keys = {command["file"]: key_of(command, headers.get(object_of(command), []), common, build) for command in commands}
    todo = [command for command in commands if not (clean / keys[command["file"]]).exists()]

    broken = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for command, (fine, output) in zip(todo, pool.map(lambda command: look_at(command, build), todo)):
            if fine:
                (clean / keys[command["file"]]).touch()
            else:
                print(output, flush=True)
                broken.append(command["file"])
    tree.conclude("clang-tidy", broken, len(commands))


main()
