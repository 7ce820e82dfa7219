"""What every end-to-end test uses: runs unfreed and programs in a folder of their own, reads profiles and books.

Nothing here waits by the clock: a wait ends with what it waits for, or fails after DEADLINE seconds.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import pprof

UNFREED = os.environ["UNFREED"]
PROGRAMS = pathlib.Path(os.environ["UNFREED_PROGRAMS"])
RUNS = int(os.environ.get("UNFREED_RUNS", "0"))  # more repetitions than CI makes
DEADLINE = 120

# As users have it, whoever runs the tests: no locale, no colours, no tracing of ours, no debuginfod.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("UNFREED", "LC_", "PYTHON", "GIT_", "LD_", "DEBUGINFOD")) and name not in ("LANG", "NO_COLOR")
} | {"LC_ALL": "C.UTF-8"}


class Ended:
    """How a command ended and what it wrote."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"status {self.status}\n--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}"


class Page:
    """What a program's books, or its profile, say of one site."""

    def __init__(self):
        self.blocks = self.bytes = self.ever_blocks = self.ever_bytes = 0
        self.functions = set()

    @property
    def numbers(self):
        return (self.blocks, self.bytes, self.ever_blocks, self.ever_bytes)


def called(function):
    """The function's name to compare by: libstdc++'s operator new[] jumps to operator new and leaves no frame."""
    return function.replace("operator new[]", "operator new")


def read_books(path):
    """(process id, {(site, domain): Page}); fails on a file that is not whole."""
    lines = pathlib.Path(path).read_text().splitlines()
    assert lines[0].startswith("pid\t") and lines[-1] == "end", f"{path}: torn books"
    pages = {}
    for line in lines[1:-1]:
        name, function, domain, *counts = line.split("\t")
        page = pages.setdefault((name, domain), Page())
        page.functions.add(called(function))
        page.blocks, page.bytes, page.ever_blocks, page.ever_bytes = map(int, counts)
    return int(lines[0].split("\t")[1]), pages


def site_of(sample):
    """The innermost site_NAME on the sample's call path, or None."""
    for frame in sample.frames:
        name = frame.function.split("(")[0]
        if name.startswith("site_"):
            return name[len("site_"):]
    return None


def pages_of(profile, pid):
    pages = {}
    for sample in profile.samples:
        site = site_of(sample)
        if site is None or sample.labels.get("pid") != pid:
            continue
        page = pages.setdefault((site, sample.labels["domain"]), Page())
        page.functions.add(called(sample.frames[0].function))
        page.blocks += sample.inuse_objects
        page.bytes += sample.inuse_space
        page.ever_blocks += sample.alloc_objects
        page.ever_bytes += sample.alloc_space
    return pages


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="unfreed-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return str(self.folder / name)

    # --- Programs -----------------------------------------------------------------------------------------------
    def program(self, name):
        """The path of one of tests/programs; skips where it could not be built here."""
        if not (PROGRAMS / name).exists():
            self.skipTest(f"{name} is not built: what it needs is not installed")
        return str(PROGRAMS / name)

    def tool(self, name):
        """The path of a program of the system; skips where it is not installed."""
        path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/go/bin")
        if not path:
            self.skipTest(f"{name} is not installed")
        return path

    def need_root(self):
        if os.geteuid() != 0:
            self.skipTest("only root may do this")

    # --- Running --------------------------------------------------------------------------------------------------
    def start(self, command, **options):
        """A process in a group of its own, killed with all its children at the test's end if it is still there."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
                   "errors": "replace", "env": ENVIRONMENT, "cwd": self.folder, "start_new_session": True} | options
        process = subprocess.Popen([str(word) for word in command], **options)

        def end():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()

        self.addCleanup(end)
        return process

    def finish(self, process):
        out, err = process.communicate(timeout=DEADLINE)
        return Ended(process.returncode, out, err)

    def execute(self, command, **options):
        input_text = options.pop("input", None)
        if input_text is None:
            return self.finish(self.start(command, **options))
        process = self.start(command, stdin=subprocess.PIPE, **options)
        out, err = process.communicate(input_text, timeout=DEADLINE)
        return Ended(process.returncode, out, err)

    def unfreed(self, *arguments, **options):
        return self.execute([UNFREED, *arguments], **options)

    def run_command(self, command, output="profile", options=()):
        """The command line that traces `command` with the preload backend and says nothing of its own."""
        return [UNFREED, "run", "--backend", "preload", "-q", "-o", self.path(output), *options, "--", *command]

    def trace(self, command, output="profile", options=(), **start_options):
        return self.execute(self.run_command(command, output, options), **start_options)

    def profile(self, output="profile"):
        return pprof.Profile(self.path(output))

    def wait_until(self, holds, what):
        """Returns holds()'s first true value."""
        end = time.monotonic() + DEADLINE
        while True:
            value = holds()
            if value:
                return value
            if time.monotonic() > end:
                self.fail(f"{what}: not within {DEADLINE} seconds")
            time.sleep(0.01)

    def wait_for_file(self, name):
        path = self.folder / name
        self.wait_until(path.exists, f"{name} is written")
        return str(path)

    # --- Checking -------------------------------------------------------------------------------------------------
    def assert_ended(self, ended, status, out=None, err=""):
        self.assertEqual(ended.status, status, ended)
        if out is not None:
            self.assertEqual(ended.out, out, ended)
        if err is not None:
            self.assertEqual(ended.err, err, ended)

    def assert_one_line(self, ended, status, *words):
        """Ended with one line of error in unfreed's form, that has these words."""
        self.assertEqual(ended.status, status, ended)
        self.assertEqual(ended.err.count("\n"), 1, ended)
        self.assertRegex(ended.err, r"\Aunfreed: [^\n]+: [^\n]+; [^\n]+\n\Z", ended)
        for word in words:
            self.assertIn(word, ended.err)

    def assert_nothing_lost(self, profile):
        self.assertIn("nothing lost", profile.comments, profile.comments)
        self.assertEqual(profile.lost, [])

    def assert_agrees(self, profile, *books, domain=None):
        """The profile says of every site of one process (in one `domain`) what its books say: outstanding and ever.
        A process that replaced its image has books for each image."""
        expected = {}
        pids = set()
        for name in books:
            pid, pages = read_books(self.path(name))
            pids.add(pid)
            self.assertFalse(set(expected) & set(pages), "two images have no site in common")
            expected |= pages
        self.assertEqual(len(pids), 1, "books of one process")
        found = pages_of(profile, pid)
        wrong = []
        for key in sorted(set(expected) | set(found)):
            if domain and key[1] != domain:
                continue
            want, have = expected.get(key, Page()), found.get(key, Page())
            if want.numbers != have.numbers:
                wrong.append(f"site_{key[0]} ({key[1]}): books {want.numbers}, profile {have.numbers}")
            elif have.functions - want.functions:
                wrong.append(f"site_{key[0]} ({key[1]}): calls {want.functions}, profile has {have.functions}")
        self.assertEqual(wrong, [], f"(blocks, bytes, ever blocks, ever bytes) of process {pid}")
        return found

    def trace_and_check(self, program, *arguments, status=0, options=()):
        """Traces a program whose first argument is where it writes its books; all must agree, nothing be lost."""
        ended = self.trace([self.program(program), self.path("books"), *arguments], options=options)
        self.assert_ended(ended, status)
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)
        return profile
