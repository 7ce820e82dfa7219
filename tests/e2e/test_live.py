"""Snapshots of a program that runs on, and the end of unfreed before the program's."""

import os
import signal

import harness


class Live(harness.Case):
    def start_waiting(self, *options):
        """A ledger that has done all its work, written its books and waits; (unfreed's process, ledger's pid)."""
        process = self.start(self.run_command([self.program("ledger"), self.path("books"), "wait", "500"], options=options))
        pid, _ = harness.read_books(self.wait_for_file("books"))
        self.addCleanup(self.kill_if_there, pid)
        return process, pid

    def kill_if_there(self, pid):
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read() == "ledger\n":
                    os.kill(pid, signal.SIGKILL)
        except OSError:
            pass

    def test_sigusr1_writes_a_snapshot(self):
        process, pid = self.start_waiting()
        for name in ("profile.0001", "profile.0002"):
            os.kill(process.pid, signal.SIGUSR1)
            self.wait_for_file(name)
            self.assert_agrees(self.profile(name), "books")
        self.assertIsNone(process.poll())
        os.kill(pid, signal.SIGTERM)
        self.assert_ended(self.finish(process), 128 + signal.SIGTERM, out="")
        self.assert_agrees(self.profile(), "books")

    def test_interval_writes_snapshots(self):
        process, pid = self.start_waiting("--interval", "1")
        last = [name for name in ("profile.0001", "profile.0002", "profile.0003") if self.wait_for_file(name)][-1]
        self.wait_for_file("profile.0004")
        os.kill(pid, signal.SIGTERM)
        self.assert_ended(self.finish(process), 128 + signal.SIGTERM, out="")
        self.assert_agrees(self.profile("profile.0004"), "books")
        self.assertTrue(last)
        self.assert_agrees(self.profile(), "books")

    def test_duration_ends_the_recording_and_not_the_program(self):
        process, pid = self.start_waiting("--duration", "1")
        self.wait_for_file("profile")
        os.kill(pid, 0)
        self.assertIsNone(process.poll(), "unfreed waits for the command, to pass its status on")
        os.kill(pid, signal.SIGTERM)
        self.assert_ended(self.finish(process), 128 + signal.SIGTERM, out="")
        pages = harness.pages_of(self.profile(), pid)
        self.assertEqual(pages["static_object", "malloc"].numbers, (1, 333, 1, 333))

    def test_program_outlives_a_killed_unfreed(self):
        os.mkfifo(self.path("go"))
        script = ("import os; x = [bytes(1000) for _ in range(100)]; open('started', 'w').close(); open('go').read();"
                  "y = [bytes(2000) for _ in range(100000)]; open('done.new', 'w').write('%d' % len(y));"
                  "os.rename('done.new', 'done')")
        process = self.start(self.run_command([self.tool("python3.11"), "-c", script]))
        self.wait_for_file("started")
        process.kill()
        process.wait(harness.DEADLINE)
        with open(self.path("go"), "w") as file:
            file.write("go")
        with open(self.wait_for_file("done")) as file:
            self.assertEqual(file.read(), "100000")

    def test_a_program_killed_under_load_leaves_a_true_profile(self):
        """Threads at work while snapshots are taken: every one is whole, and what does not change is right in it."""
        process = self.start(self.run_command([self.program("ledger"), self.path("books"), "return", "100000000"]))
        children = f"/proc/{process.pid}/task/{process.pid}/children"

        def first_child():
            with open(children) as file:
                return file.read().split()[:1]

        pid = int(self.wait_until(first_child, "the command is started")[0])  # unfreed minds signals from before that
        for number in range(1, 6):
            os.kill(process.pid, signal.SIGUSR1)
            name = f"profile.{number:04}"
            self.wait_for_file(name)
            for sample in self.profile(name).samples:
                self.assertGreaterEqual(sample.inuse_objects, 0)
                self.assertGreaterEqual(sample.inuse_space, 0)
        os.kill(pid, signal.SIGKILL)
        self.assert_ended(self.finish(process), 128 + signal.SIGKILL, out="")
        self.assertEqual(harness.pages_of(self.profile(), pid)["static_object", "malloc"].numbers, (1, 333, 1, 333))
