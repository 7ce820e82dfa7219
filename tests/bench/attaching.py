"""Tools that join a process which is there already: how each is started, and what it says once its probes are live."""

import dataclasses
import pathlib
import re

# What memleak does, in bpftrace's language: of each live block its size and its stack (by frame pointers).
MEMLEAK_SCRIPT = """
uprobe:LIBC:malloc /pid == PID/ { @size[tid] = arg0 }
uprobe:LIBC:calloc /pid == PID/ { @size[tid] = arg0 * arg1 }
uprobe:LIBC:realloc /pid == PID/ { @size[tid] = arg1; delete(@bytes[arg0]); delete(@path[arg0]) }
uretprobe:LIBC:malloc, uretprobe:LIBC:calloc, uretprobe:LIBC:realloc /@size[tid]/ {
  @bytes[retval] = @size[tid]; @path[retval] = ustack; delete(@size[tid])
}
uprobe:LIBC:free /pid == PID/ { delete(@bytes[arg0]); delete(@path[arg0]) }
"""


class Refused(Exception):
    """The tool ended before it had joined the process."""


@dataclasses.dataclass
class Tool:
    command: list
    says: bytes  # when every probe is live
    environment: dict = dataclasses.field(default_factory=dict)
    ends: bool = True  # by itself, when the process has ended; otherwise it is killed then


def libc_of(pid):
    return re.search(r"/\S+/libc\.so\.6$", pathlib.Path(f"/proc/{pid}/maps").read_text(), re.M).group()


def tool(way, pid, bench):
    if way == "ebpf":
        return Tool([bench.unfreed, "attach", "-o", bench.profile, pid], b"attached to")
    if way == "floor":
        return Tool([bench.bin / "floor", pid], b"attached")
    if way == "memleak":  # its first report is what tells, after five seconds
        return Tool(["memleak-bpfcc", "-p", pid], b"outstanding allocations", {"PYTHONUNBUFFERED": "1"}, ends=False)
    # bpftrace starts the command of -c when all probes are live, and tells so in no other way.
    live = bench.work / "live"
    live.write_text("every probe is live\n")
    script = MEMLEAK_SCRIPT.replace("LIBC", libc_of(pid)).replace("PID", str(pid))
    return Tool(["bpftrace", "-B", "none", "-e", script, "-c", f"/usr/bin/tail -f {live}"], b"every probe is live",
                {"BPFTRACE_MAP_KEYS_MAX": "4000000"}, ends=False)
