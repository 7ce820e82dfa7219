"""Order of inclusion: data flows capture -> snapshot -> symbolize -> report, and so do the includes."""

import re

import tree

# For each folder (the longest prefix counts), what its files may include besides themselves.
MAY_INCLUDE = {
    "preload/contract/": [],
    "bpf/contract": [],
    "preload/": ["preload/contract/"],
    "bpf/": ["bpf/contract"],
    "symbolizer/": ["bpf/contract"],  # symbolizer/unwind writes the rows that the kernel reads
    "userspace/error.h": [],
    "userspace/snapshot/": ["userspace/error.h"],
    "userspace/process/": ["userspace/error.h"],
    "userspace/capture/": ["preload/contract/", "bpf/", "symbolizer/", "userspace/error.h", "userspace/process/",
                           "userspace/snapshot/"],
    "userspace/report/": ["symbolizer/", "userspace/error.h", "userspace/snapshot/"],
    "userspace/rss/": ["symbolizer/", "userspace/error.h", "userspace/process/", "userspace/snapshot/"],
    "userspace/cli/": ["userspace/", "symbolizer/"],
    "tests/": [""],
    "docs/": [],
}

# Made by the build: skeletons by bpftool, and the flame graph's script and style as strings.
GENERATED = re.compile(r"\w+\.skel\.h|vmlinux\.h|flame_graph_assets\.h")

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def folder_of(path):
    return max((prefix for prefix in MAY_INCLUDE if path.startswith(prefix)), key=len, default=None)


def check(path, included):
    """What is wrong with `path` including `included`, or None."""
    if GENERATED.fullmatch(included):
        return None
    if path.startswith("tests/programs/") and ((tree.ROOT / path).parent / included).is_file():
        return None  # built by other tools than ours (cgo)
    if not (tree.ROOT / included).is_file():
        return "not a path from the root of the tree"
    folder = folder_of(path)
    if folder is None:
        return "a folder without a rule in this test"
    if included.startswith(folder) or any(included.startswith(prefix) for prefix in MAY_INCLUDE[folder]):
        return None
    return f"{folder} must not know of it"


broken = []
paths = tree.files(*tree.SOURCES)
for source in map(str, paths):
    for name in INCLUDE.findall(tree.text(source)):
        if fault := check(source, name):
            broken.append(f'{source}: includes "{name}": {fault}')
tree.conclude("order of inclusion", broken, len(paths))
