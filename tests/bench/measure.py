"""Runs one command natively or under a tracer, and what that took: of the target alone, and of everything."""

import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

WAYS = ("native", "exact", "sampled", "heaptrack")
RESULT_LINE = re.compile(rb"operations (\d+) loop_ns (\d+) kept_blocks (\d+) kept_bytes (\d+)")


@dataclasses.dataclass
class Run:
    """Seconds, MiB. `target_*` is what the command itself took, from its start to its end, its tracer's hooks included."""

    way: str
    target_wall: float
    target_cpu: float
    target_memory: float
    loop_ns: int | None  # what the workload measured itself
    operations: int | None
    whole_wall: float  # until the tracer itself was done
    whole_cpu: float
    after_end: float  # from the target's end to the finished report
    tracer_memory: float  # of the collector or interpreter beside the target, without pages that it shares with it
    right: str  # "yes", or what is wrong


class PrivateMemory(threading.Thread):
    """The largest private resident memory of the processes that `find` gives, looked at every 20 ms."""

    def __init__(self, find):
        super().__init__(daemon=True)
        self.find, self.largest_kib, self.ended = find, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.02):
            for pid in self.find():
                try:
                    status = pathlib.Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                private = sum(map(int, re.findall(r"^Rss(?:Anon|File):\s+(\d+)", status, re.M)))
                self.largest_kib = max(self.largest_kib, private)

    def stop(self):
        self.ended.set()
        self.join()
        return self.largest_kib / 1024


def interpreters_below(pid):
    """heaptrack's helper: a child of the shell script that `heaptrack` is."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)
            except OSError:
                continue
            if "heaptrack_inter" in fields[0] and int(fields[1].split()[1]) == pid:
                found.append(int(entry))
    return found


class Bench:
    def __init__(self, bin_folder, unfreed, work_folder):
        self.bin, self.unfreed, self.work = bin_folder, unfreed, work_folder
        self.profile = work_folder / "profile.pb.gz"
        self.heaptrack_data = work_folder / "heaptrack"

    def command_line(self, way, command, times, output):
        # heaptrack traces one process and no child of it; its library passes a static clock by, on to the command
        clock = "static_clock" if way == "heaptrack" else "clock"
        timed = [self.bin / clock, times, output, *command]
        if way == "native":
            return timed
        if way == "heaptrack":
            return ["heaptrack", "-o", self.heaptrack_data, *timed]
        sampling = ["--sample", "512KiB"] if way == "sampled" else []
        return [self.unfreed, "run", *sampling, "-o", self.profile, "--", *timed]

    def run(self, way, workload):
        times, output = self.work / "times", self.work / "output"
        for left_over in (times, output, self.profile, *self.work.glob("heaptrack*")):
            left_over.unlink(missing_ok=True)
        with (self.work / "messages").open("wb") as messages:
            begun = time.monotonic()
            process = subprocess.Popen([str(word) for word in self.command_line(way, workload.command, times, output)],
                                       stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
                                       env={**os.environ, **workload.environment}, cwd=self.work)
            find = (lambda: interpreters_below(process.pid)) if way == "heaptrack" else (lambda: [process.pid])
            memory = PrivateMemory(find)
            memory.start()
            _, status, usage = os.wait4(process.pid, 0)
            finished = time.monotonic()
            process.returncode = os.waitstatus_to_exitcode(status)
            tracer_memory = memory.stop()

        if not times.exists():
            sys.exit(f"unfreed: bench: {workload.name} {way}: status {process.returncode}, and nothing measured: "
                     f"{(self.work / 'messages').read_text(errors='replace')}")
        start, end, user, system, rss = map(int, times.read_text().split())
        after_end = finished - end / 1e9
        if way == "heaptrack":
            after_end += self._heaptrack_print()
        printed = output.read_bytes()
        line = RESULT_LINE.search(printed)
        operations, loop_ns, blocks, kept = map(int, line.groups()) if line else (None, None, 0, 0)
        wrong = workload.wrong_output(process.returncode, printed)
        if not wrong and way == "exact":
            wrong = self._wrong_profile(workload, blocks, kept)
        return Run(way, (end - start) / 1e9, (user + system) / 1e6, rss / 1024, loop_ns, operations, finished - begun,
                   usage.ru_utime + usage.ru_stime, after_end, tracer_memory, wrong or "yes")

    def _heaptrack_print(self):
        begun = time.monotonic()
        subprocess.run(["heaptrack_print", *self.work.glob("heaptrack*")], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return time.monotonic() - begun

    def _wrong_profile(self, workload, blocks, kept):
        """The workload's own books against the profile; None when they agree."""
        found = {}
        for value in ("inuse_objects", "inuse_space"):
            report = subprocess.run([self.unfreed, "report", "--format", "folded", "--value", value, self.profile],
                                    stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if report.returncode != 0:
                return f"report: {report.stderr.strip()}"
            lines = [line.rsplit(" ", 1) for line in report.stdout.splitlines()]
            found[value] = sum(int(count) for path, count in lines if not blocks or "bench_keep" in path)
        if not blocks:  # a real program: its own numbers are not known
            return None if found["inuse_space"] > 0 or workload.may_keep_nothing else "an empty profile"
        if (found["inuse_objects"], found["inuse_space"]) != (blocks, kept):
            return f"{found['inuse_objects']} blocks of {found['inuse_space']} bytes instead of {blocks} of {kept}"
        return None


def digest(data):
    return hashlib.sha256(data).hexdigest()
