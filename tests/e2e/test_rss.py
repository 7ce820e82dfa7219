"""unfreed rss: one table that adds up to what the kernel says, and one line where it cannot look."""

import os
import re
import shutil
import signal
import subprocess

import harness

UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class Case(harness.Case):
    def quiet_python(self, code, wrap=()):
        """A python that has run `code` and waits; `wrap`: the command line that runs it."""
        process = self.start([*wrap, self.tool("python3.11"), "-c", code + "\nprint('quiet', flush=True)\ninput()"],
                             stdin=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "quiet\n")
        return process

    def need_ebpf(self):
        from test_attach import OBSTACLE  # finding out takes a while
        if OBSTACLE:
            self.skipTest(OBSTACLE)

    def rows(self, table):
        """{part: (resident, swapped, together)} in bytes."""
        rows = {}
        for line in table.splitlines():
            row = re.match(r"(.*?) +" + 3 * r" +([0-9.]+) (B|KiB|MiB|GiB|TiB)" + r"\Z", line)
            if row:
                name, *amounts = row.groups()
                rows[name] = tuple(float(number) * UNITS[unit] for number, unit in zip(amounts[::2], amounts[1::2]))
        return rows

    def check_sum(self, table):
        """The rows add up to their sum, and the sum to what the kernel says, within 2 percent."""
        rows = self.rows(table)
        parts = sum(together for name, (_, _, together) in rows.items() if name != "sum")
        self.assertAlmostEqual(parts, rows["sum"][2], delta=rows["sum"][2] * 0.02, msg=table)
        difference = re.search(r"^difference +([0-9.]+)%$", table, re.MULTILINE)
        self.assertLessEqual(float(difference[1]), 2, table)
        return rows


class Rss(Case):

    def test_the_table_adds_up(self):
        process = self.quiet_python("kept = [bytearray(1 << 20) for i in range(64)]")
        ended = self.execute([harness.UNFREED, "rss", str(process.pid)])
        self.assert_ended(ended, 0)
        self.assertGreaterEqual(self.check_sum(ended.out)["malloc, live, blocks with own mappings"][0], 63 << 20)

    def test_a_tree_counts_shared_pages_once(self):
        process = self.quiet_python("import os\nkept = bytes(1 << 26)\nkept = bytearray(kept)\n"
                                    "read, write = os.pipe()\nif os.fork() == 0:\n    os.close(write); os.read(read, 1); os._exit(0)\n")
        ended = self.execute([harness.UNFREED, "rss", "--tree", str(process.pid)])
        self.assert_ended(ended, 0)
        self.assertRegex(ended.out, r"\A2 processes, shared pages counted once\n")
        self.assertLess(self.rows(ended.out)["malloc, live, blocks with own mappings"][0], 1.5 * (1 << 26))

    def test_no_such_process(self):
        self.assert_one_line(self.execute([harness.UNFREED, "rss", "2147483646"]), 125, "there is none")

    def test_no_process_named(self):
        self.assert_one_line(self.execute([harness.UNFREED, "rss"]), 2, "pid")

    def test_someone_elses_process(self):
        self.need_root()
        process = self.quiet_python("")
        unfreed = shutil.copy(harness.UNFREED, self.folder)  # wherever it was built: here it may be run by others
        os.chmod(self.folder, 0o755)
        ended = self.execute([self.tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", unfreed, "rss",
                              str(process.pid)])
        self.assert_one_line(ended, 125, "may not be looked at")


class InReports(Case):
    """The same table in reports, with what was traced told apart."""

    HOLD = "kept = [bytearray(1 << 20) for i in range(64)]"
    TRACED = "malloc, live, as traced"

    def report(self, name):
        ended = self.execute([harness.UNFREED, "report", self.path(name)])
        self.assert_ended(ended, 0)
        return ended.out

    def run_quiet(self, code):
        return self.quiet_python(code, self.run_command([]))

    def end(self, process):
        process.stdin.close()
        process.stdin = None
        return self.finish(process)

    def test_a_snapshot_of_a_running_program(self):
        process = self.run_quiet("import mmap\n" + self.HOLD + "\nmapped = mmap.mmap(-1, 1 << 25, mmap.MAP_PRIVATE)\n"
                                 "mapped.write(bytes(1 << 25))")
        process.send_signal(signal.SIGUSR1)
        self.wait_for_file("profile.0001")
        table = self.report("profile.0001")
        rows = self.check_sum(table)
        self.assertGreaterEqual(rows[self.TRACED][0], 64 << 20, table)
        self.assertLess(rows[self.TRACED][0], 80 << 20, table)
        mapped = sum(row[0] for name, row in rows.items() if name.startswith("mmap, as traced: "))
        self.assertGreaterEqual(mapped, 32 << 20, table)
        self.assertLess(rows.get("malloc, live, from before tracing", (0,))[0], 1 << 20, table)
        self.assertIn("malloc, free, main heap", rows)
        self.end(process)

    def test_at_the_end_of_its_own_there_is_none_and_no_word_of_it(self):
        process = self.run_quiet(self.HOLD)
        self.end(process)
        self.assertNotIn("the memory", self.report("profile"))

    def test_a_signal_that_ends_the_program_is_the_last_moment(self):
        process = self.run_quiet(self.HOLD)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(harness.DEADLINE), 128 + signal.SIGTERM)
        table = self.report("profile")
        self.assertIn("when its signal came", table)
        self.assertGreaterEqual(self.check_sum(table)[self.TRACED][0], 64 << 20, table)

    def test_opencv_has_a_row_of_its_own(self):
        process = self.start(self.run_command([self.program("opencv_loop"), self.path("books"), "wait"]),
                             stdin=subprocess.PIPE)
        _, books = harness.read_books(self.wait_for_file("books"))
        process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        self.wait_for_file("profile.0001")
        rows = self.check_sum(self.report("profile.0001"))
        held = sum(page.bytes for (_, domain), page in books.items() if domain == "opencv")
        self.assertGreaterEqual(rows["OpenCV, live, as traced"][0], held * 0.9)
        self.end(process)

    def test_what_was_there_before_attach_is_told_apart(self):
        self.need_ebpf()
        python = self.quiet_python("before = [bytearray(1 << 20) for i in range(48)]\nprint('quiet', flush=True)\ninput()\n"
                                   + self.HOLD)
        unfreed = self.start([harness.UNFREED, "attach", "-q", "-o", self.path("profile"), str(python.pid)])
        self.assertEqual(unfreed.stderr.readline(), f"attached to {python.pid}\n")
        python.stdin.write("go on\n")
        python.stdin.flush()
        self.assertEqual(python.stdout.readline(), "quiet\n")
        unfreed.send_signal(signal.SIGINT)
        self.assert_ended(self.finish(unfreed), 0)
        rows = self.check_sum(self.report("profile"))
        self.assertGreaterEqual(rows[self.TRACED][0], 64 << 20)
        self.assertLess(rows[self.TRACED][0], 80 << 20)
        self.assertGreaterEqual(rows["malloc, live, from before tracing"][0], 48 << 20)
        self.end(python)


class PureGo(Case):
    """Go without cgo: said what can be seen and what not; rss tells where its memory is."""

    NOTE = "is pure Go, without cgo: it calls no malloc"

    def start_quiet(self, name, wrap=()):
        process = self.start([*wrap, self.program(name)], stdin=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "quiet\n")
        return process

    def end(self, process):
        process.stdin.close()
        process.stdin = None
        return self.finish(process)

    def test_rss(self):
        for name in ("go_pure_exe", "go_pure_pie"):
            process = self.start_quiet(name)
            ended = self.execute([harness.UNFREED, "rss", str(process.pid)])
            self.assert_ended(ended, 0)
            heap = self.check_sum(ended.out)["Go heap, in use"][0]
            self.assertTrue(64 << 20 <= heap <= 72 << 20, ended.out)
            self.end(process)

    def test_run(self):
        process = self.start_quiet("go_pure_pie", [harness.UNFREED, "run", "-o", self.path("profile"), "--"])
        self.assertIn(self.NOTE, self.end(process).err)
        self.assertIn(self.NOTE, "\n".join(self.profile().comments))

    def test_attach(self):
        self.need_ebpf()
        process = self.start_quiet("go_pure_exe")
        unfreed = self.start([harness.UNFREED, "attach", "-o", self.path("profile"), str(process.pid)])
        self.assertEqual(unfreed.stderr.readline(), f"attached to {process.pid}\n")
        unfreed.send_signal(signal.SIGINT)
        summary = self.finish(unfreed).err
        self.assertIn(self.NOTE, summary)
        heap = self.check_sum(summary)["Go heap, in use"][0]
        self.assertTrue(64 << 20 <= heap <= 72 << 20, summary)
        self.end(process)
