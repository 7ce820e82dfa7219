"""Every end of a process: the numbers are right, and status, streams and signals are as they would be alone."""

import os
import pty
import re
import select
import signal
import sys
import time

import harness


class Ends(harness.Case):
    def check_end(self, end, status):
        ended = self.trace([self.program("ledger"), self.path("books"), end, "500"])
        self.assert_ended(ended, status, out="")
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)

    def test_return(self):
        self.check_end("return", 5)

    def test_exit(self):
        self.check_end("exit", 6)

    def test_underscore_exit(self):
        self.check_end("_exit", 7)

    def test_raw_exit_group(self):
        self.check_end("exit_group", 8)

    def test_abort(self):
        self.check_end("abort", 128 + signal.SIGABRT)

    def test_segmentation_fault(self):
        self.check_end("segv", 128 + signal.SIGSEGV)

    def test_sigkill_by_itself(self):
        self.check_end("sigkill", 128 + signal.SIGKILL)

    def check_killed_from_outside(self, number):
        process = self.start(self.run_command([self.program("ledger"), self.path("books"), "wait", "500"]))
        pid, _ = harness.read_books(self.wait_for_file("books"))
        os.kill(pid, number)
        self.assert_ended(self.finish(process), 128 + number, out="")
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)

    def test_sigkill_from_outside(self):
        self.check_killed_from_outside(signal.SIGKILL)

    def test_sigterm_from_outside(self):
        self.check_killed_from_outside(signal.SIGTERM)

    def test_sigkill_in_the_middle_of_the_work(self):
        """Killed at any instruction: every site has at most one block per thread that was in the making."""
        for delay in range(5):
            process = self.start(self.run_command(
                [self.program("ledger"), self.path("books"), "return", "100000000"], output=f"profile{delay}"))
            pid = self.wait_until(lambda: self.child_at_work(process.pid), "the ledger runs")
            time.sleep(0.05 * delay)  # another moment each time; any moment is right
            os.kill(pid, signal.SIGKILL)
            self.assert_ended(self.finish(process), 128 + signal.SIGKILL, out="")
            profile = self.profile(f"profile{delay}")
            pages = harness.pages_of(profile, pid)
            self.assertEqual(pages["static_object", "malloc"].numbers, (1, 333, 1, 333))
            self.assertEqual(pages["constructor", "malloc"].bytes, 333)
            for page in pages.values():
                self.assertLessEqual(page.blocks, page.ever_blocks + 5)

    def memory_cgroup(self, limit):
        """A new memory cgroup's file of processes; skips where there can be none."""
        self.need_root()
        for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
            group = f"{root}/{self.folder.name}"
            try:
                os.mkdir(group)
            except OSError:
                continue
            self.addCleanup(os.rmdir, group)
            try:
                with open(f"{group}/{name}", "w") as file:
                    file.write(str(limit))
                return f"{group}/cgroup.procs"
            except OSError:
                continue
        self.skipTest("no memory cgroup can be made here")

    def test_out_of_memory_killer(self):
        group = self.memory_cgroup(64 << 20)
        ended = self.trace([self.tool("sh"), "-c", 'echo $$ > "$1" && exec "$2" "$3"', "sh", group,
                            self.program("memory_hog"), self.path("books")])
        self.assert_ended(ended, 128 + signal.SIGKILL, out="")
        pid, books = harness.read_books(self.path("books"))
        found = harness.pages_of(self.profile(), pid)["hog", "malloc"]
        self.assertIn(found.blocks - books["hog", "malloc"].blocks, (0, 1))
        self.assertGreater(found.blocks, 10)
        self.assertEqual(found.bytes, found.blocks << 20)
        self.assert_nothing_lost(self.profile())

    def test_locking_all_memory_does_not_fill_the_table(self):
        group = self.memory_cgroup(256 << 20)
        lock = "import ctypes; print(ctypes.CDLL(None).mlockall(3))"
        ended = self.trace([self.tool("sh"), "-c", 'echo $$ > "$1" && exec "$2" -c "$3"', "sh", group,
                            sys.executable, lock])
        self.assert_ended(ended, 0, out="0\n")

    def child_at_work(self, pid):
        """The process id of `pid`'s child once it has five threads."""
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        if children and os.path.basename(os.readlink(f"/proc/{children[0]}/exe")) == "ledger":
            if len(os.listdir(f"/proc/{children[0]}/task")) == 5:
                return int(children[0])
        return None

    def test_signals_reach_the_command(self):
        """SIGTERM to unfreed ends the command, as it would end it alone; the profile is written."""
        process = self.start(self.run_command([self.program("ledger"), self.path("books"), "wait", "500"]))
        self.wait_for_file("books")
        os.kill(process.pid, signal.SIGTERM)
        self.assert_ended(self.finish(process), 128 + signal.SIGTERM, out="")
        self.assert_agrees(self.profile(), "books")

    def test_ctrl_c_on_a_terminal(self):
        pid, terminal = pty.fork()
        if pid == 0:
            try:
                os.chdir(self.folder)
                os.execve(harness.UNFREED, [harness.UNFREED, "run", "--backend", "preload", "-o", "profile", "--",
                                            self.program("ledger"), "books", "wait", "500"], harness.ENVIRONMENT)
            finally:
                os._exit(99)
        self.addCleanup(os.close, terminal)
        self.wait_for_file("books")
        os.write(terminal, b"\x03")
        screen = self.read_to_end(terminal)
        _, status = os.waitpid(pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 128 + signal.SIGINT, screen)
        self.assert_agrees(self.profile(), "books")
        self.assertRegex(screen, r"site_\w+", "the summary is printed")

    def read_to_end(self, terminal):
        screen = b""
        end = time.monotonic() + harness.DEADLINE
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the other side is closed
                return screen.decode(errors="replace")
            if not data:
                break
            screen += data
        return screen.decode(errors="replace")

    def test_streams_pass_through(self):
        shell = self.tool("sh")
        command = [shell, "-c", "cat; echo to stdout; echo to stderr >&2; exit 42"]
        alone = self.execute(command, input="from stdin\n")
        self.assert_ended(alone, 42, "from stdin\nto stdout\n", "to stderr\n")
        traced = self.execute(self.run_command(command), input="from stdin\n")
        self.assert_ended(traced, 42, alone.out, alone.err)

    def test_closed_streams_stay_closed(self):
        """A descriptor that the caller closed is not open in the command either, and none is added."""
        script = "ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> .*/\\1/p'"
        command = [self.tool("sh"), "-c", f"exec <&-; {script}"]
        alone = self.execute(command)
        self.assert_ended(self.trace(command), 0, alone.out, alone.err)

    def test_the_summary_goes_to_standard_error(self):
        command = [self.program("ledger"), self.path("books"), "return", "500"]
        ended = self.execute([harness.UNFREED, "run", "--backend", "preload", "-o", self.path("profile"), "--", *command])
        self.assert_ended(ended, 5, out="", err=None)
        self.assertIn("site_", ended.err)
        self.assertIn("nothing lost", ended.err)

    def test_default_name_of_the_profile(self):
        ended = self.execute([harness.UNFREED, "run", "-q", "--backend", "preload", "--", self.program("ledger"), "books",
                              "return", "100"])
        self.assert_ended(ended, 5)
        pid, _ = harness.read_books(self.path("books"))
        names = [name for name in os.listdir(self.folder) if name.startswith("unfreed.")]
        self.assertEqual(len(names), 1)
        self.assertRegex(names[0], rf"\Aunfreed\.ledger\.{pid}\.pb\.gz\Z")
        self.assertFalse([name for name in os.listdir(self.folder) if re.search(r"tmp|\.new", name)])
