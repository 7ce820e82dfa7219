"""Runs one command natively or under a tracer, and what that took: of the target alone, and of everything."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import attaching

WAYS = {"preload": ("native", "exact", "sampled", "heaptrack"), "ebpf": ("native", "ebpf", "floor", "bpftrace", "memleak")}
ATTACHING = WAYS["ebpf"][1:]
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


def waited_for(process):
    """Its end, and the processor seconds that it and its waited-for children took."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


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
        begun = time.monotonic()
        launch = self._attached if way in ATTACHING else self._wrapped
        code, cpu, tracer_memory = launch(way, workload, times, output)
        finished = time.monotonic()

        if not times.exists():
            sys.exit(f"unfreed: bench: {workload.name} {way}: status {code}, and nothing measured: {self._said()}")
        start, end, user, system, rss = map(int, times.read_text().split())
        after_end = finished - end / 1e9
        if way == "heaptrack":
            after_end += self._heaptrack_print()
        printed = output.read_bytes()
        line = RESULT_LINE.search(printed)
        operations, loop_ns, blocks, kept = map(int, line.groups()) if line else (None, None, 0, 0)
        wrong = workload.wrong_output(code, printed)
        if not wrong and way in ("exact", "ebpf"):
            wrong = self._wrong_profile(workload, blocks, kept)
        if not wrong and way == "floor":
            wrong = self._wrong_count((operations or 0) + blocks)
        return Run(way, (end - start) / 1e9, (user + system) / 1e6, rss / 1024, loop_ns, operations, finished - begun, cpu,
                   after_end, tracer_memory, wrong or "yes")

    def obstacle(self, way, workload):
        """Why this way does not run on this machine, in its own last words; None when it does."""
        try:
            self.run(way, workload)
        except (OSError, attaching.Refused) as error:
            return str(error)
        return None

    def _said(self):
        return (self.work / "messages").read_text(errors="replace")

    def _wrapped(self, way, workload, times, output):
        """The tracer starts the clock, and the clock the command."""
        with (self.work / "messages").open("wb") as messages:
            process = subprocess.Popen([str(word) for word in self.command_line(way, workload.command, times, output)],
                                       stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
                                       env={**os.environ, **workload.environment}, cwd=self.work)
            find = (lambda: interpreters_below(process.pid)) if way == "heaptrack" else (lambda: [process.pid])
            memory = PrivateMemory(find)
            memory.start()
            cpu = waited_for(process)
            return process.returncode, cpu, memory.stop()

    def _attached(self, way, workload, times, output):
        """The clock starts the command's process and holds it back until the tracer has joined it."""
        with (self.work / "messages").open("wb") as messages, contextlib.ExitStack() as ended_anyway:
            clock = subprocess.Popen([str(word) for word in (self.bin / "clock", "--held", times, output, *workload.command)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages,
                                     env={**os.environ, **workload.environment}, cwd=self.work)
            ended_anyway.enter_context(clock)
            ended_anyway.callback(clock.kill)
            tool = attaching.tool(way, int(clock.stdout.readline()), self)
            tracer = subprocess.Popen([str(word) for word in tool.command], stdin=subprocess.DEVNULL, stdout=messages,
                                      stderr=messages, env={**os.environ, **tool.environment}, cwd=self.work)
            ended_anyway.enter_context(tracer)
            ended_anyway.callback(tracer.kill)
            while tool.says not in (self.work / "messages").read_bytes():
                if tracer.poll() is not None:
                    raise attaching.Refused((self._said().strip().splitlines() or ["it ended without a word"])[-1])
                time.sleep(0.01)
            memory = PrivateMemory(lambda: [tracer.pid])
            memory.start()
            clock.stdin.write(b"\n")
            clock.stdin.close()
            cpu = waited_for(clock)
            if not tool.ends:
                tracer.kill()
            cpu += waited_for(tracer)
            if tool.ends and tracer.returncode != 0:
                sys.exit(f"unfreed: bench: {workload.name} {way}: status {tracer.returncode}: {self._said()}")
            return clock.returncode, cpu, memory.stop()

    def _heaptrack_print(self):
        begun = time.monotonic()
        subprocess.run(["heaptrack_print", *self.work.glob("heaptrack*")], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return time.monotonic() - begun

    def _wrong_count(self, least):
        counted = int(re.search(r"allocations (\d+) frees", self._said()).group(1))
        return None if counted >= max(least, 1) else f"{counted} allocations counted instead of {least}"

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
