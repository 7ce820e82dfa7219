"""Call paths: whole, named, and the same whether remembered or unwound afresh."""

import os
import re
import shutil

import harness

ROOTS = {"_start", "clone", "__clone", "clone3", "__clone3", "_dl_start_user", "_dl_start"}


class Stacks(harness.Case):
    def test_whole_stacks_of_code_without_frame_pointers(self):
        """Every path of the ledger's sites leads to where its thread began."""
        profile = self.trace_and_check("ledger", "return", "500", status=5)
        cut = {" < ".join(sample.names) for sample in profile.samples
               if harness.site_of(sample) and sample.names[-1] not in ROOTS}
        self.assertEqual(cut, set())

    def test_whole_stacks_of_programs_with_holes_between_segments(self):
        """The loader tells of one segment alone; the call frame information is in another."""
        for program in ("ledger_holes", "ledger_holes_fixed"):
            with self.subTest(program=program):
                profile = self.trace_and_check(program, "return", "500", status=5)
                cut = {" < ".join(sample.names) for sample in profile.samples
                       if harness.site_of(sample) and sample.names[-1] not in ROOTS}
                self.assertEqual(cut, set())
                ids = {os.path.basename(path): build_id for path, build_id in profile.mappings.values()}
                self.assertRegex(ids[program], r"\A[0-9a-f]{40}\Z")

    def test_frames_from_the_allocation_function_outwards(self):
        profile = self.trace_and_check("ledger", "return", "500", status=5)
        paths = {" < ".join(name.replace("(anonymous namespace)::", "").split("(")[0] for name in sample.names)
                 for sample in profile.samples}
        for path in (r"malloc < site_malloc < .*thread_main < start_thread < (__)?clone3?\Z",
                     r"malloc < site_constructor < .*before_main < .*_start",
                     r"malloc < site_static_object < .*_start\Z",
                     r"malloc < site_at_exit < .*at_exit < .*exit < .*_start\Z",
                     r"malloc < site_destructor < .*after_main < .*_dl_fini < .*exit < .*_start\Z",
                     r"malloc < site_signal_handler < .*on_signal < .*raise < .*main < .*_start\Z",
                     r"malloc < site_key_destructor < .*at_key_destruction < .*clone3?\Z",
                     r"operator new < site_new < "):
            self.assertTrue(any(re.match(path, each) for each in paths), path)

    def test_source_lines_and_files(self):
        profile = self.trace_and_check("ledger", "return", "500", status=5)
        source = open(os.path.join(os.path.dirname(__file__), "..", "programs", "ledger.cpp")).read().splitlines()
        frames = [frame for sample in profile.samples for frame in sample.frames if frame.function == "site_realloc_grown"]
        self.assertTrue(frames)
        for frame in frames:
            self.assertEqual(os.path.basename(frame.file), "ledger.cpp")
            self.assertIn("realloc(block.address, n)", source[frame.line - 1])

    def test_modules_carry_build_ids(self):
        profile = self.trace_and_check("ledger", "return", "100", status=5)
        ids = {os.path.basename(path): build_id for path, build_id in profile.mappings.values()}
        self.assertRegex(ids["libc.so.6"], r"\A[0-9a-f]{40}\Z")

    def test_no_frame_of_ours(self):
        profile = self.trace_and_check("ledger", "return", "500", status=5)
        ours = [path for path, _ in profile.mappings.values() if "unfreed" in os.path.basename(path)]
        self.assertEqual(ours, [])
        self.assertEqual([frame for sample in profile.samples for frame in sample.frames if "unfreed" in frame.module
                          and "libunfreed" in frame.module], [])

    def test_depth_cuts_and_counts(self):
        ended = self.trace([self.program("ledger"), self.path("books"), "return", "500"], options=["--depth", "3"])
        self.assert_ended(ended, 5, out="")
        profile = self.profile()
        self.assertLessEqual(max(len(sample.frames) for sample in profile.samples if harness.site_of(sample)), 12)
        self.assertGreater(len([c for c in profile.comments if "lost" in c or "note" in c]), 0, profile.comments)

    def stress(self, seed):
        return [self.program("stack_stress"), self.program("plugin_a.so"), self.program("plugin_b.so"), "300", str(seed)]

    def test_a_stressed_stack_is_traced_and_harmless(self):
        for seed in range(3):
            ended = self.trace(self.stress(seed))
            self.assertEqual((ended.status, ended.err), (0, ""), ended)
            self.assertRegex(ended.out, r"\A\d+ allocations\n\Z")
            made = int(ended.out.split()[0])
            self.assertGreater(made, 10000)
            self.assertGreaterEqual(self.profile().total("alloc_objects"), made)

    def trace_checked(self, command, **options):
        """Traces with the shim that unwinds every allocation afresh too and compares; returns how the command ended,
        without what the shim said, once that was: no stack differed."""
        shim = os.environ["UNFREED_CHECKED_SHIM"]
        if not os.path.exists(shim):
            self.skipTest("the checked build of the shim is not built")
        checked = self.folder / "checked"  # unfreed takes the shim that lies beside it
        if not checked.exists():
            checked.mkdir()
            shutil.copy(harness.UNFREED, checked / "unfreed")
            shutil.copy(shim, checked / "libunfreed_preload.so")
        line = self.run_command(command)
        ended = self.execute([str(checked / "unfreed"), *line[1:]], **options)
        said = re.findall(r"unfreed checked: (\d+) stacks compared, (\d+) differ", ended.err)
        self.assertTrue(said, ended)
        self.assertGreater(sum(int(compared) for compared, _ in said), 0)
        self.assertEqual(sum(int(differ) for _, differ in said), 0, ended)
        ended.err = "".join(line for line in ended.err.splitlines(True) if not line.startswith("unfreed checked: "))
        return ended

    def test_no_difference_under_stress(self):
        for seed in range(harness.RUNS or 4):
            ended = self.trace_checked([*self.stress(100 + seed), "quiet-loader"])
            self.assertEqual((ended.status, ended.err), (0, ""), ended)

    def test_no_difference_in_the_ledger(self):
        for program in ("ledger", "ledger_jemalloc", "ledger_tcmalloc_minimal", "ledger_mimalloc"):
            with self.subTest(program=program):
                ended = self.trace_checked([self.program(program), self.path("books"), "return", "500"])
                self.assert_ended(ended, 5, out="")

    def test_no_difference_when_libraries_take_each_others_place(self):
        ended = self.trace_checked([self.program("plugin_swap"), self.path("books"), self.program("plugin_a.so"),
                                    self.program("plugin_b.so")])
        self.assert_ended(ended, 0, out="")

    def test_no_difference_in_python(self):
        code = "import json, re; print(len(re.findall('[0-9]+', json.dumps(list(range(3000))))))"
        ended = self.trace_checked([self.tool("python3.11"), "-c", code],
                                   env=harness.ENVIRONMENT | {"PYTHONMALLOC": "malloc"})
        self.assert_ended(ended, 0, out="3000\n")

    def test_no_difference_in_opencv(self):
        ended = self.trace_checked([self.program("opencv_loop"), self.path("books")])
        self.assert_ended(ended, 0)
