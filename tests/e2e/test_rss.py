"""unfreed rss: one table that adds up to what the kernel says, and one line where it cannot look."""

import os
import re
import shutil
import subprocess

import harness

UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Rss(harness.Case):
    def quiet_python(self, code):
        """A python that has run `code` and waits."""
        process = self.start([self.tool("python3.11"), "-c", code + "\nprint('quiet', flush=True)\ninput()"],
                             stdin=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "quiet\n")
        return process

    def rows(self, table):
        """{part: (resident, swapped, together)} in bytes."""
        rows = {}
        for line in table.splitlines():
            amounts = re.findall(r"([0-9.]+) (B|KiB|MiB|GiB)\b", line)
            if len(amounts) == 3:
                rows[line[:44].strip()] = tuple(float(number) * UNITS[unit] for number, unit in amounts)
        return rows

    def test_the_table_adds_up(self):
        process = self.quiet_python("kept = [bytearray(1 << 20) for i in range(64)]")
        ended = self.execute([harness.UNFREED, "rss", str(process.pid)])
        self.assert_ended(ended, 0)
        rows = self.rows(ended.out)
        parts = sum(together for name, (_, _, together) in rows.items() if name != "sum")
        self.assertAlmostEqual(parts, rows["sum"][2], delta=rows["sum"][2] * 0.02)
        self.assertGreaterEqual(rows["malloc, live, blocks with own mappings"][0], 63 << 20)
        difference = re.search(r"^difference +([0-9.]+)%$", ended.out, re.MULTILINE)
        self.assertLessEqual(float(difference[1]), 2, ended.out)

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
