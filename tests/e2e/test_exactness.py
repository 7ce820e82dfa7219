"""The ledger programs: bytes and blocks per site agree with the program's own books exactly, every time."""

import harness


class Exactness(harness.Case):
    def check_ledger(self, program, runs):
        for run in range(runs):
            with self.subTest(run=run):
                profile = self.trace_and_check(program, "return", "1500", status=5)
                self.assertEqual(profile.sample_types, [("alloc_objects", "count"), ("alloc_space", "bytes"),
                                                        ("inuse_objects", "count"), ("inuse_space", "bytes")])

    def test_ledger_agrees_in_every_run(self):
        self.check_ledger("ledger", harness.RUNS or 20)

    def test_ledger_with_jemalloc(self):
        self.check_ledger("ledger_jemalloc", harness.RUNS or 5)

    def test_ledger_with_tcmalloc(self):
        self.check_ledger("ledger_tcmalloc_minimal", harness.RUNS or 5)

    def test_ledger_with_mimalloc(self):
        self.check_ledger("ledger_mimalloc", harness.RUNS or 5)

    def test_ledger_of_many_rounds(self):
        self.trace_and_check("ledger", "return", "20000", status=5)

    def test_blocks_above_4_gib(self):
        ended = self.trace([self.program("big_blocks"), self.path("books")])
        if ended.status == 77:
            self.skipTest("the system refuses blocks of 4 GiB")
        self.assert_ended(ended, 0)
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)

    def test_failures_under_an_address_space_limit(self):
        self.trace_and_check("address_space_limit")

    def test_more_threads_than_counters(self):
        self.trace_and_check("thread_parade")

    def test_churn_at_a_steady_live_heap(self):
        self.trace_and_check("churn", "10000", "3")

    def test_opencv_blocks_are_counted_once(self):
        ended = self.trace([self.program("opencv_loop"), self.path("books")])
        self.assert_ended(ended, 0, out=None)
        found = self.assert_agrees(self.profile(), "books", domain="opencv")
        self.assertEqual(found["leaked_image", "opencv"].blocks, 8)
