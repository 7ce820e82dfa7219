"""The ebpf backend: `unfreed attach PID` and `unfreed run --backend ebpf`. Needs root and a kernel with uprobes and BTF."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import harness


def can_trace():
    """Why the ebpf backend cannot work here, by its own words; empty: it can."""
    probe = subprocess.run([harness.UNFREED, "attach", "--duration", "0.01", "-q", "-o", os.devnull, str(os.getpid())],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return "" if "attached to" in probe.stderr else probe.stderr.strip()


OBSTACLE = can_trace()


def code_is_untouched(pid):
    """No breakpoint is left in the code that the process maps from libc."""
    with open(f"/proc/{pid}/maps") as maps:
        mappings = [line.split() for line in maps if " r-xp " in line and "/libc.so" in line]
    for words in mappings:
        begin, end = (int(word, 16) for word in words[0].split("-"))
        with open(f"/proc/{pid}/mem", "rb") as memory, open(words[5], "rb") as file:
            memory.seek(begin)
            file.seek(int(words[2], 16))
            there, original = memory.read(end - begin), file.read(end - begin)
            if there[:len(original)] != original:
                return False
    return bool(mappings)


def entries_in_kernel(pid, name):
    """How many entries the process's hash map of that name has."""
    def ask(*words):
        return json.loads(subprocess.run(["bpftool", "-j", "map", *words], capture_output=True, check=True).stdout)

    ours = set()
    for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the child's probes are closed just now
            ours |= {int(line.split()[1]) for line in info.read_text().splitlines() if line.startswith("map_id:")}
    number, = (each["id"] for each in ask("show") if each["id"] in ours and each.get("name") == name)
    return len(ask("dump", "id", str(number)))


class Attach(harness.Case):
    def setUp(self):
        super().setUp()
        if OBSTACLE:
            self.skipTest(OBSTACLE)

    def target(self):
        target = self.start([self.program("attach_target"), self.path("books")], stdin=subprocess.PIPE)
        self.assertEqual(target.stdout.readline(), "ready\n")
        return target

    def attach(self, pid, *options):
        unfreed = self.start([harness.UNFREED, "attach", "-q", "-o", self.path("profile"), *options, str(pid)])
        self.assertEqual(unfreed.stderr.readline(), f"attached to {pid}\n")
        return unfreed

    def work(self, target):
        target.stdin.write("go\n")
        target.stdin.flush()
        self.assertEqual(target.stdout.readline(), "done\n")

    def end(self, target):
        target.stdin.close()
        target.stdin = None
        self.assertEqual(target.wait(harness.DEADLINE), 0)

    def check(self):
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)
        for sample in profile.samples:
            self.assertRegex(sample.frames[-1].function, r"clone|_start", [frame.function for frame in sample.frames])
        return profile

    def test_what_a_running_program_allocates_from_then_on(self):
        target = self.target()
        unfreed = self.attach(target.pid)
        self.work(target)
        unfreed.send_signal(signal.SIGINT)
        self.assert_ended(self.finish(unfreed), 0)
        self.check()
        self.assertTrue(code_is_untouched(target.pid))
        self.end(target)

    def test_the_program_ends_while_attached(self):
        target = self.target()
        unfreed = self.attach(target.pid)
        self.work(target)
        self.end(target)
        self.assert_ended(self.finish(unfreed), 0)
        self.assertTrue(any("exited with 0" in comment for comment in self.check().comments))

    def test_the_program_is_killed_while_attached(self):
        target = self.target()
        unfreed = self.attach(target.pid)
        self.work(target)
        target.kill()
        target.wait(harness.DEADLINE)
        self.assert_ended(self.finish(unfreed), 0)
        self.check()

    def test_nothing_is_left_when_unfreed_is_killed(self):
        target = self.target()
        unfreed = self.attach(target.pid)
        self.work(target)
        unfreed.kill()
        unfreed.wait(harness.DEADLINE)
        self.wait_until(lambda: code_is_untouched(target.pid), "the breakpoints go")
        self.work(target)
        self.end(target)

    def test_twice_one_after_the_other(self):
        target = self.target()
        for _ in range(2):
            unfreed = self.attach(target.pid)
            unfreed.send_signal(signal.SIGINT)
            self.assert_ended(self.finish(unfreed), 0)
        self.end(target)

    def test_two_at_once_both_see_everything(self):
        target = self.target()
        first = self.attach(target.pid)
        second = self.start([harness.UNFREED, "attach", "-q", "-o", self.path("other"), str(target.pid)])
        self.assertEqual(second.stderr.readline(), f"attached to {target.pid}\n")
        self.work(target)
        self.end(target)
        for unfreed in (first, second):
            self.assert_ended(self.finish(unfreed), 0)
        self.check()
        self.assert_agrees(self.profile("other"), "books")

    def test_what_an_ended_child_had_stays_in_the_numbers(self):
        """Also once it is cleared out of the kernel's tables."""
        os.mkfifo(self.path("orders"))
        script = '"$0" books < orders; echo ended; read line || true'
        shell = self.start(["/bin/sh", "-c", script, self.program("attach_target")], stdin=subprocess.PIPE)
        with open(self.path("orders"), "w") as orders:
            self.assertEqual(shell.stdout.readline(), "ready\n")
            unfreed = self.attach(shell.pid)
            orders.write("go\n")
            orders.flush()
            self.assertEqual(shell.stdout.readline(), "done\n")
        self.assertEqual(shell.stdout.readline(), "ended\n")
        # The child has 65 or so, the shell that is left 6.
        self.wait_until(lambda: entries_in_kernel(unfreed.pid, "totals") < 20, "the kernel's tables are cleared")
        self.end(shell)
        self.assert_ended(self.finish(unfreed), 0)
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)

    def test_a_stopped_process_is_attached_and_stays_stopped(self):
        target = self.target()
        target.send_signal(signal.SIGSTOP)
        unfreed = self.attach(target.pid)
        with open(f"/proc/{target.pid}/status") as status:
            self.assertRegex(status.read(), r"State:\s+T")
        target.send_signal(signal.SIGCONT)
        self.work(target)
        self.end(target)
        self.assert_ended(self.finish(unfreed), 0)
        self.check()


class RunByEbpf(harness.Case):
    def setUp(self):
        super().setUp()
        if OBSTACLE:
            self.skipTest(OBSTACLE)

    def ledger(self, end, status):
        command = [harness.UNFREED, "run", "--backend", "ebpf", "-q", "-o", self.path("profile"), "--",
                   self.program("ledger"), self.path("books"), end, "500"]
        self.assert_ended(self.execute(command), status)
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)

    def test_ledger_that_returns(self):
        self.ledger("return", 5)

    def test_ledger_that_is_killed(self):
        self.ledger("sigkill", 137)

    def test_ledger_that_ends_by_a_raw_system_call(self):
        self.ledger("exit_group", 8)

    def test_a_static_program_is_recorded_without_being_asked_to(self):
        ended = self.execute([harness.UNFREED, "run", "-q", "-o", self.path("profile"), "--",
                              self.program("static_program")])
        self.assertEqual((ended.status, ended.out), (3, "static program\n"), ended)
        self.assertIn("recorded by the ebpf backend", ended.err)
        (sample,) = self.profile().samples
        self.assertEqual((sample.inuse_objects, sample.inuse_space), (1, 100))
        self.assertEqual([frame.function for frame in sample.frames[:2]], ["malloc", "main"])

    def test_a_break_that_the_program_moves_itself(self):
        ended = self.execute([harness.UNFREED, "run", "--backend", "ebpf", "-q", "-o", self.path("profile"), "--",
                              self.program("program_break"), self.path("books")])
        self.assert_ended(ended, 0)
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)
        mapped = [sample for sample in profile.samples if sample.labels["domain"] == "mmap"]
        self.assertEqual({harness.site_of(sample) for sample in mapped}, {"by_sbrk", "by_brk", "by_a_jump"}, "not malloc's")

    def test_children_that_end_at_once_do_not_end_the_run(self):
        many = "i=0; while [ $i -lt 60 ]; do /bin/true; i=$((i+1)); done"
        ended = self.execute([harness.UNFREED, "run", "--backend", "ebpf", "-q", "-o", self.path("profile"), "--",
                              "/bin/sh", "-c", many])
        self.assert_ended(ended, 0)
        self.assertIn("sh", {sample.labels.get("process") for sample in self.profile().samples})

    def test_in_a_pid_namespace_of_its_own(self):
        """As in a container: process ids are other ones than the kernel's own."""
        inside = [self.tool("unshare"), "--pid", "--fork", "--mount-proc"]
        if self.execute([*inside, "true"]).status:
            self.skipTest("no PID namespace can be made here")
        command = [*inside, harness.UNFREED, "run", "--backend", "ebpf", "-q", "-o", self.path("profile"), "--",
                   self.program("ledger"), self.path("books"), "return", "500"]
        self.assert_ended(self.execute(command), 5)
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)

    def test_opencv_blocks_are_counted_once(self):
        ended = self.execute([harness.UNFREED, "run", "--backend", "ebpf", "-q", "-o", self.path("profile"), "--",
                              self.program("opencv_loop"), self.path("books")])
        self.assertEqual(ended.status, 0, ended)
        self.assert_agrees(self.profile(), "books", domain="opencv")


class AttachErrors(harness.Case):
    def attach(self, *arguments, **options):
        return self.execute([harness.UNFREED, "attach", "-o", self.path("profile"), *arguments], **options)

    def test_no_such_process(self):
        ended = self.start(["true"])
        ended.wait(harness.DEADLINE)  # reaped: its id is free
        self.assert_one_line(self.attach(str(ended.pid)), 125, f"process {ended.pid}")

    def test_a_zombie(self):
        zombie = self.start(["true"])
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        self.assert_one_line(self.attach(str(zombie.pid)), 125, "has ended")

    def test_a_kernel_thread(self):
        with open("/proc/2/status") as status:
            if not re.search(r"^Name:\s+kthreadd$", status.read(), re.MULTILINE):
                self.skipTest("process 2 is no kernel thread here")
        self.assert_one_line(self.attach("2"), 125, "kernel")

    def test_no_number(self):
        self.assert_one_line(self.attach("abc"), 2, "PID")

    def test_preload_cannot_attach(self):
        self.assert_one_line(self.attach("--backend", "preload", str(os.getpid())), 2, "preload")

    def test_without_privilege_the_capability_is_named(self):
        self.need_root()
        os.chmod(self.folder, 0o777)
        ended = self.execute([self.tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups",
                              harness.UNFREED, "attach", "-o", self.path("profile"), str(os.getpid())])
        if "setpriv" in ended.err or ended.status == 126:
            self.skipTest("another user cannot run this build")
        self.assert_one_line(ended, 125, "CAP_BPF")
