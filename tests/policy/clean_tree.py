"""Nothing of one machine in the tree: no binary, no path of a person's or a machine's folder, no address but loopback."""

import re

import tree

PUBLIC_HOSTS = {
    "example.com", "github.com", "www.w3.org", "go.dev", "golang.org", "refspecs.linuxfoundation.org", "dwarfstd.org",
    "man7.org", "www.kernel.org", "docs.kernel.org", "sourceware.org", "gcc.gnu.org", "clang.llvm.org", "www.speedscope.app",
    "speedscope.app", "perfetto.dev", "gitlab.com", "www.uclibc.org", "uclibc.org",
}
MACHINE_PATH = re.compile(r"(?<![\w./$}])/(?:root|work|home/\w+|Users/\w+|mnt/\w+)/[\w.-]")
URL_HOST = re.compile(r"\b(?:https?|ftp|git|ssh)://([^/\s\"'<>):]+)")
IP_ADDRESS = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")

broken = []
paths = tree.files()
for path in paths:
    if str(path) == "tests/policy/clean_tree.py":
        continue
    if b"\0" in (tree.ROOT / path).read_bytes():
        broken.append(f"{path}: a binary file")
        continue
    for number, line in enumerate(tree.text(path).splitlines(), 1):
        found = [match.group() for match in MACHINE_PATH.finditer(line)]
        found += [host for host in URL_HOST.findall(line) if host.lower() not in PUBLIC_HOSTS]
        found += [address for address in IP_ADDRESS.findall(line)
                  if not address.startswith(("127.", "0.0.0.0")) and all(int(part) < 256 for part in address.split("."))]
        broken += [f"{path}:{number}: {what}" for what in found]
tree.conclude("no machine's names", broken, len(paths))
