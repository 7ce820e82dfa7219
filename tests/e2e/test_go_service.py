"""Go with C behind it: exact numbers, and every call path led across to the goroutine that asked for it."""

import os
import re

import harness

# Where a stack begins: a goroutine, a thread of the runtime, its scheduler, its growing of stacks; the program, a C
# thread.
ROOTS = {"runtime.goexit", "runtime.mstart", "runtime.mcall", "runtime.morestack", "runtime.rt0_go", "_start",
         "_dl_start_user", "_dl_start", "clone3", "__clone3", "clone", "__clone"}

GUILTY = (r"< _cgo_\w+_Cfunc_site_match < runtime.asmcgocall < runtime.cgocall < main._Cfunc_site_match < "
          r"main.\(\*Finder\).scan.func1 < main.\(\*Finder\).scan < main.work < main.main.func1 < "
          r"main.inGoroutine.func1 < runtime.goexit\Z")


class GoService(harness.Case):
    def trace_service(self, program="go_service"):
        """The profile, deep enough for the goroutines that grow their stacks."""
        ended = self.trace([self.program(program), self.path("books")], options=["--depth", "1000"])
        self.assert_ended(ended, 0, "20 results of 480x640 CV_32FC1 were not closed\n")
        return self.profile()

    def sites(self, profile, name):
        """The call paths of what is outstanding of one site, repeated frames once."""
        samples = [sample for sample in profile.samples if harness.site_of(sample) == name and sample.inuse_objects]
        self.assertTrue(samples, name)
        return [" < ".join(name for i, name in enumerate(sample.names) if name != (sample.names[i - 1] if i else None))
                for sample in samples]

    def test_exact_numbers(self):
        """Outstanding blocks are the books'. (What OpenCV has used and freed meanwhile is not in them.)"""
        profile = self.trace_service()
        pid, books = harness.read_books(self.path("books"))
        found = harness.pages_of(profile, pid)
        self.assertEqual((books["match", "opencv"].blocks, books["match", "opencv"].bytes), (20, 20 * 480 * 640 * 4))
        for key, page in books.items():
            self.assertEqual((found[key].blocks, found[key].bytes), (page.blocks, page.bytes), key)
            self.assertEqual(found[key].functions | page.functions, found[key].functions, key)

    def check_whole(self, profile):
        cut = {" < ".join(sample.names) for sample in profile.samples if sample.names[-1] not in ROOTS}
        self.assertEqual(cut, set())
        self.assertEqual([comment for comment in profile.comments if "cut short" in comment], [])

    def test_every_path_is_whole(self):
        self.check_whole(self.trace_service())

    def test_a_stripped_program(self):
        """What Go needs for its own tracebacks is still there: only C functions have lost their names."""
        profile = self.trace_service("go_service_stripped")
        self.check_whole(profile)
        leaks = [sample for sample in profile.samples
                 if sample.labels["domain"] == "opencv" and "main.(*Finder).scan" in sample.names]
        self.assertEqual(sum(sample.inuse_objects for sample in leaks), 20)
        self.assertEqual(sum(sample.inuse_space for sample in leaks), 20 * 480 * 640 * 4)

    def test_a_position_independent_program(self):
        profile = self.trace_service("go_service_pie")
        self.check_whole(profile)
        self.assertEqual(sum(sample.inuse_objects for sample in profile.samples
                             if sample.labels["domain"] == "opencv" and "main.(*Finder).scan" in sample.names), 20)

    def test_a_library_in_a_c_program(self):
        """C to Go to C, on the C program's own threads; and on goroutines."""
        self.assert_ended(self.trace([self.program("go_library_host")]), 0, "")
        profile = self.profile()
        self.check_whole(profile)
        into_c = (r"malloc < site_from_library < _cgo_\w+_Cfunc_site_from_library < runtime.asmcgocall < runtime.cgocall < "
                  r"main._Cfunc_site_from_library < main.forget < ")
        from_c = r"main.Enter < _cgoexp_\w+_Enter < runtime.cgocallbackg1 < .*runtime.cgocallback < crosscall2 < Enter < run < "
        counts = {into_c + r"main.Enter.func1 < runtime.goexit\Z": 10,
                  into_c + from_c + r"main < .*_start\Z": 5,
                  into_c + from_c + r"start_thread < (__)?clone3?\Z": 5}
        for path, blocks in counts.items():
            found = [sample for sample in profile.samples if re.match(path, " < ".join(sample.names))]
            self.assertEqual(sum(sample.inuse_objects for sample in found), blocks, path)
            self.assertEqual(sum(sample.inuse_space for sample in found), blocks * 77, path)

    def test_by_the_kernel(self):
        """The ebpf backend crosses to goroutines too. A path that it has to cut (a page that is not in memory at that
        moment cannot be read by the kernel) is counted."""
        ended = self.execute([harness.UNFREED, "run", "-q", "--backend", "ebpf", "--depth", "1000", "-o",
                              self.path("profile"), "--", self.program("go_service"), self.path("books")])
        if ended.status == 125:
            self.skipTest(ended.err.strip())
        self.assert_ended(ended, 0, "20 results of 480x640 CV_32FC1 were not closed\n")
        profile = self.profile()
        found = harness.pages_of(profile, harness.read_books(self.path("books"))[0])
        self.assertEqual((found["match", "opencv"].blocks, found["match", "opencv"].bytes), (20, 20 * 480 * 640 * 4))
        paths = {sample.names[-1]: " < ".join(sample.names) for sample in profile.samples
                 if harness.site_of(sample) == "match" and sample.labels["domain"] == "opencv"}
        self.assertRegex(paths.pop("runtime.goexit"), GUILTY)
        self.assertTrue(not paths or profile.lost, paths)

    def test_the_guilty_go_function(self):
        profile = self.trace_service()
        for path in self.sites(profile, "match"):
            self.assertRegex(path, GUILTY)
        for sample in profile.samples:
            for frame in sample.frames:
                if frame.function == "main.(*Finder).scan":
                    self.assertRegex(frame.file, r"go_service/finder.go\Z")
                    self.assertEqual(self.source_line("finder.go", frame.line).strip(),
                                     "result := Mat{C.site_match(screenshot.handle, f.template.handle)}")

    def source_line(self, name, number):
        with open(f"{os.path.dirname(__file__)}/../programs/go_service/{name}") as file:
            return file.read().splitlines()[number - 1]

    def test_ways_into_c(self):
        profile = self.trace_service()
        for site, path in {
            "before_runtime": r"site_before_runtime < .*_start\Z",
            "in_init": r"< runtime.cgocall < main._Cfunc_site_in_init < main.init.0 < runtime.doInit < runtime.main < runtime.goexit\Z",
            "held_by_finalizer": r"< main.newPicture < main.main < runtime.main < runtime.goexit\Z",
            "locked_thread": r"< main.lockedThread < main.inGoroutine.func1 < runtime.goexit\Z",
            "deep_stack": r"< main._Cfunc_site_deep_stack < main.deep < main.main.func3 < main.inGoroutine.func1 < runtime.goexit\Z",
        }.items():
            for each in self.sites(profile, site):
                self.assertRegex(each, path)

    def test_callbacks_from_c(self):
        """C to Go to C, from goroutines whose stacks grow, and move, while C waits."""
        profile = self.trace_service()
        outer = (r"site_after_callback < (_cgo_\w+_Cfunc_site_after_callback < )?runtime.asmcgocall < runtime.cgocall < "
                 r"main._Cfunc_site_after_callback < main.callBack < main.main.func2 < main.inGoroutine.func1 < runtime.goexit\Z")
        inner = (r"malloc < site_in_callback < _cgo_\w+_Cfunc_site_in_callback < runtime.asmcgocall < runtime.cgocall < "
                 r"main._Cfunc_site_in_callback < main.visit < main.goVisit < _cgoexp_\w+_goVisit < runtime.cgocallbackg1 < "
                 r"runtime.cgocallbackg < runtime.cgocallback < crosscall2 < goVisit < ")
        for path in self.sites(profile, "in_callback"):
            self.assertRegex(path, inner + outer)
        for path in self.sites(profile, "after_callback"):
            self.assertRegex(path, "malloc < " + outer)

    def check_creation(self, profile):
        """Goroutines of main end with the go statement, those that Go's runtime makes first with goexit."""
        created = {}
        for site in ("match", "locked_thread", "deep_stack", "after_callback", "in_init"):
            for sample in profile.samples:
                if harness.site_of(sample) == site and sample.inuse_objects:
                    outermost = sample.frames[-1]
                    created.setdefault(site, set()).add(outermost.function)
                    if outermost.function.startswith("created by"):
                        self.assertRegex(outermost.file, r"go_service/main.go\Z")
                        self.assertEqual(self.source_line("main.go", outermost.line).strip(), "go func() {")
                        self.assertEqual(sample.frames[-2].function, "runtime.goexit")
        by_main = {"created by main.inGoroutine"}
        self.assertEqual(created, {"match": by_main, "locked_thread": by_main, "deep_stack": by_main,
                                   "after_callback": by_main, "in_init": {"runtime.goexit"}})

    def test_where_goroutines_were_created(self):
        for program in ("go_service", "go_service_stripped", "go_service_pie"):
            with self.subTest(program=program):
                self.assert_ended(self.trace([self.program(program), self.path("books")],
                                             options=["--depth", "1000", "--go-created-by"]), 0, None)
                if program != "go_service_stripped":  # its sites have lost their names
                    self.check_creation(self.profile())
                else:
                    self.assertTrue(any(sample.frames[-1].function == "created by main.inGoroutine"
                                        for sample in self.profile().samples))

    def test_where_goroutines_were_created_by_the_kernel(self):
        ended = self.execute([harness.UNFREED, "run", "-q", "--backend", "ebpf", "--go-created-by", "--depth", "500",
                              "-o", self.path("profile"), "--", self.program("go_service"), self.path("books")])
        if ended.status == 125:
            self.skipTest(ended.err.strip())
        profile = self.profile()
        paths = {sample.frames[-1].function for sample in profile.samples
                 if harness.site_of(sample) == "match" and sample.labels["domain"] == "opencv"}
        self.assertIn("created by main.inGoroutine", paths)
        self.assertTrue(len(paths) == 1 or profile.lost, paths)

    def test_forgotten_strings_and_buffers(self):
        profile = self.trace_service()
        outstanding = {}
        for sample in profile.samples:
            for function in ("main.describe", "main.buffer"):
                if function in sample.names and sample.inuse_objects:
                    blocks, size = outstanding.get(function, (0, 0))
                    outstanding[function] = blocks + sample.inuse_objects, size + sample.inuse_space
                    self.assertRegex(" < ".join(sample.names), rf"\Amalloc < .*{function} < .*main.main < runtime.main < runtime.goexit\Z")
        self.assertEqual(outstanding, {"main.describe": (3, len("one\0two\0three\0")), "main.buffer": (1, 1234)})
