"""Bad input: one line on standard error, a documented exit code, and nothing that was there is lost."""

import gzip
import os
import random
import resource
import shutil
import struct
import subprocess
import sys

import harness

SYS_SETRLIMIT = 160  # x86-64


def elf_header(bits, machine):
    identity = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    words = "<HHIIIIIHHHHHH" if bits == 32 else "<HHIQQQIHHHHHH"
    return identity + struct.pack(words, 2, machine, 1, 0x1000, 52, 0, 0, 52, 32, 0, 0, 0, 0) + bytes(4096)


class Errors(harness.Case):
    def executable(self, name, content, mode=0o755):
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    # --- The command line -----------------------------------------------------------------------------------------
    def check_usage(self, *arguments):
        ended = self.unfreed(*arguments)
        self.assert_one_line(ended, 2)
        self.assertEqual(os.listdir(self.folder), [], "nothing is left behind")

    def test_no_command(self):
        self.check_usage("run")
        self.check_usage("run", "--")
        self.check_usage("run", "-q")

    def test_no_verb(self):
        self.check_usage()

    def test_unknown_verb(self):
        self.check_usage("walk", "--", "true")

    def test_unknown_option(self):
        self.check_usage("run", "--walk", "--", "true")

    def test_absurd_values(self):
        for option, value in (("--depth", "0"), ("--depth", "-1"), ("--depth", "many"), ("--sample", "-5"),
                              ("--sample", "x"), ("--duration", "-1"), ("--duration", "soon"), ("--interval", "0"),
                              ("--backend", "magic"), ("--pair", "noseparator"), ("--sample", "99999999999999999999999")):
            with self.subTest(option=option, value=value):
                self.check_usage("run", option, value, "--", "true")

    def test_missing_value(self):
        self.check_usage("run", "--depth")

    def test_report_without_a_profile(self):
        self.check_usage("report")

    def test_absurd_report_options(self):
        self.assert_ended(self.trace([self.program("process_tree"), self.path("books"), "as_image"]), 0)
        for option, value in (("--top", "x"), ("--focus", "("), ("--format", "poem"), ("--value", "gold"), ("--pid", "x"),
                              ("--min-age", "x")):
            with self.subTest(option=option, value=value):
                self.assert_one_line(self.unfreed("report", option, value, "profile"), 2)

    # --- The command ----------------------------------------------------------------------------------------------
    def check_cannot_run(self, command, status, *words):
        ended = self.trace([command])
        self.assert_one_line(ended, status, *words)
        self.assertFalse(os.path.exists(self.path("profile")))

    def test_command_not_found(self):
        self.check_cannot_run("no-such-command-anywhere", 127, "no-such-command-anywhere")

    def test_path_not_found(self):
        self.check_cannot_run(self.path("nothing"), 127, "nothing")

    def test_not_executable(self):
        self.check_cannot_run(self.executable("plain", b"#!/bin/sh\n", 0o644), 126, "plain")

    def test_a_folder(self):
        self.check_cannot_run(str(self.folder), 126)

    def test_32_bit_program(self):
        self.check_cannot_run(self.executable("old", elf_header(32, 3)), 125, "32-bit")

    def test_program_of_another_architecture(self):
        self.check_cannot_run(self.executable("arm", elf_header(64, 183)), 126)

    def test_truncated_program(self):
        self.check_cannot_run(self.executable("torn", b"\x7fELF\x02\x01"), 126)

    def test_static_program(self):
        self.check_cannot_run(self.program("static_program"), 125, "static")

    def test_setuid_program(self):
        self.need_root()
        program = self.path("setuid")
        shutil.copy(self.program("process_tree"), program)
        os.chown(program, 65534, 65534)
        os.chmod(program, 0o4755)
        self.check_cannot_run(program, 125, "set")

    def test_program_with_its_own_malloc(self):
        self.check_cannot_run(self.program("own_malloc"), 125, "malloc")

    def test_program_built_with_address_sanitizer(self):
        """It would end at once with ours in front of its own library."""
        self.check_cannot_run(self.program("address_sanitized"), 125, "AddressSanitizer")

    def test_script_without_an_interpreter(self):
        self.check_cannot_run(self.executable("script", b"#!/no/such/interpreter\n"), 126, "/no/such/interpreter")

    # --- The output -----------------------------------------------------------------------------------------------
    def test_unwritable_output_is_known_before_the_run(self):
        marker = self.path("ran")
        for output in ("no/such/folder/profile", ".", "/proc/profile"):
            with self.subTest(output=output):
                ended = self.execute(self.run_command([self.tool("touch"), marker], output=output))
                self.assert_one_line(ended, 125)
                self.assertFalse(os.path.exists(marker))

    def test_full_disk_keeps_the_old_profile(self):
        self.need_root()
        disk = self.folder / "disk"
        disk.mkdir()
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], capture_output=True)
        if mount.returncode != 0:
            self.skipTest("a file system of a known size cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        old = b"the old profile"
        (disk / "profile").write_bytes(old)
        with open(disk / "filler", "wb", buffering=0) as filler:  # the rest: to the last page
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
        ended = self.unfreed("run", "--backend", "preload", "-o", disk / "profile", "--", self.program("ledger"),
                             self.path("books"), "return", "500")
        self.assertEqual(ended.status, 125, ended)
        self.assertRegex(ended.err, r"(?m)^unfreed: [^\n]+: [^\n]+; [^\n]+$")
        self.assertEqual((disk / "profile").read_bytes(), old)
        self.assertEqual(sorted(os.listdir(disk)), ["filler", "profile"])
        self.assertIn("site_", ended.err, "the report is still printed")

    # --- Profiles -------------------------------------------------------------------------------------------------
    def check_bad_profile(self, content):
        (self.folder / "bad").write_bytes(content)
        for verb in (("report",), ("report", "--format", "json"), ("check", "--max-bytes", "1"), ("diff", "bad")):
            ended = self.unfreed(*verb, "bad")
            self.assertIn(ended.status, (125, 2) if verb[0] == "check" else (125,), (verb, ended))
            self.assertEqual(ended.out, "")
            self.assertRegex(ended.err, r"\Aunfreed: [^\n]+\n\Z")

    def test_missing_profile(self):
        self.assert_one_line(self.unfreed("report", "nothing"), 125, "nothing")

    def test_empty_profile(self):
        self.check_bad_profile(b"")

    def test_text_is_no_profile(self):
        self.check_bad_profile(b"not a profile at all, only a line of text\n")

    def test_gzip_of_something_else(self):
        self.check_bad_profile(gzip.compress(b"\xff" * 100))

    def test_a_report_beyond_the_limit_of_file_sizes(self):
        self.trace_and_check("ledger", "return", "300", status=5)
        (self.folder / "report").write_text("as it was")
        shell = f"ulimit -f 0 && exec {harness.UNFREED} report --format html -o report profile"
        self.assert_one_line(self.execute(["/bin/sh", "-c", shell]), 125, "report")
        self.assertEqual((self.folder / "report").read_text(), "as it was")

    def test_a_folder_is_no_profile(self):
        self.assert_one_line(self.unfreed("report", "."), 125)

    def test_truncated_profiles(self):
        self.trace_and_check("ledger", "return", "300", status=5)
        whole = (self.folder / "profile").read_bytes()
        for size in (1, 10, len(whole) // 2, len(whole) - 1):
            self.check_bad_profile(whole[:size])

    def test_corrupt_profiles_do_no_harm(self):
        """Any answer will do but a crash or a torn line."""
        self.trace_and_check("ledger", "return", "300", status=5)
        whole = bytearray(gzip.decompress((self.folder / "profile").read_bytes()))
        numbers = random.Random(1)
        for _ in range(60):
            corrupt = bytearray(whole)
            for _ in range(numbers.randint(1, 20)):
                corrupt[numbers.randrange(len(corrupt))] = numbers.randrange(256)
            (self.folder / "bad").write_bytes(gzip.compress(corrupt, 1))
            ended = self.unfreed("report", "bad")
            self.assertIn(ended.status, (0, 125), ended)
            if ended.status:
                self.assertRegex(ended.err, r"\Aunfreed: [^\n]+\n\Z")

    # --- Too little of something, or too much of us ---------------------------------------------------------------
    def test_too_little_address_space_for_the_table(self):
        """The program runs untraced, and unfreed says so. (By a raw system call: what passes the shim is raised.)"""
        limited = ("import ctypes, os, sys; limit = (ctypes.c_uint64 * 2)(4 << 30, 4 << 30);"
                   f"assert ctypes.CDLL(None).syscall({SYS_SETRLIMIT}, {resource.RLIMIT_AS}, limit) == 0;"
                   "os.execv(sys.argv[1], sys.argv[1:])")
        ended = self.trace([sys.executable, "-c", limited, self.program("process_tree"), self.path("books"),
                            "as_image"])
        self.assertEqual((ended.status, ended.out), (0, ""), ended)
        self.assertTrue(os.path.exists(self.path("books.image")))
        profile = self.profile()
        self.assertEqual([sample for sample in profile.samples if harness.site_of(sample)], [])
        self.assertNotIn("nothing lost", profile.comments)

    def test_a_limit_that_the_program_sets(self):
        """It holds for the program's own memory, reads back as it was set, and its children are recorded under it."""
        shell = f"ulimit -v 4000000 && ulimit -v && exec {self.program('process_tree')} {self.path('books')} as_image"
        ended = self.trace([self.tool("sh"), "-c", shell])
        self.assert_ended(ended, 0, out="4000000\n")
        self.assert_agrees(self.profile(), "books.image")
        self.assert_nothing_lost(self.profile())

    def test_little_address_space_for_everybody(self):
        """Either the limit is raised for the table's sake and all is recorded, or unfreed says that it cannot."""
        limit = 256 << 20
        ended = self.trace([self.program("process_tree"), self.path("books"), "as_image"],
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        self.assertEqual(ended.out, "")
        if ended.err:
            self.assertIn(ended.status, (0, 125), ended)
            self.assertRegex(ended.err, r"\Aunfreed: [^\n]+: [^\n]+; [^\n]+\n")
        else:
            self.assertEqual(ended.status, 0)
            self.assert_agrees(self.profile(), "books.image")

    def test_a_standard_error_that_nobody_reads(self):
        """The command ends as it would alone, and is recorded."""
        reader, writer = os.pipe()
        os.close(reader)
        full = os.open("/dev/full", os.O_WRONLY)
        for name, stream in (("broken", writer), ("full", full)):
            self.addCleanup(os.close, stream)
            with self.subTest(name):
                command = [harness.UNFREED, "run", "--backend", "preload", "-o", self.path(name), "--",
                           self.program("ledger"), self.path("books"), "return", "500"]
                self.assertEqual(self.execute(command, stderr=stream).status, 5)
                self.assert_agrees(self.profile(name), "books")

    def test_few_descriptors(self):
        ended = self.trace([self.program("process_tree"), self.path("books"), "fork"],
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)))
        self.assertIn(ended.status, (0, 125), ended)
        if ended.status == 0:
            self.assert_agrees(self.profile(), "books.first")

    def test_two_unfreed_at_once(self):
        commands = [self.run_command([self.program("ledger"), self.path(f"books{i}"), "return", "2000"], f"profile{i}")
                    for i in range(2)]
        for process in [self.start(command) for command in commands]:
            self.assert_ended(self.finish(process), 5, out="")
        for i in range(2):
            self.assert_agrees(self.profile(f"profile{i}"), f"books{i}")

    def test_unfreed_under_unfreed(self):
        inner = self.run_command([self.program("ledger"), self.path("books"), "return", "500"], "inner")
        ended = self.trace(inner, "outer")
        self.assert_ended(ended, 5, out="", err=None)
        self.assert_agrees(self.profile("inner"), "books")
        self.assertTrue(os.path.exists(self.path("outer")))
