"""--sample: estimates without bias for every size, with the error that Poisson sampling has and no more.

An allocation of b bytes is sampled with probability p = 1 - exp(-b / mean) and then stands for 1/p blocks, so over
n allocations the estimate is n on average with variance n (1 - p) / p. Bounds are so wide (8 standard deviations)
that a right implementation fails once in more than 1e9 runs of this suite.
"""

import math

import harness

SIZES = (16, 100, 1000, 10000, 100000, 3000000)
DEVIATIONS = 8


class Sampling(harness.Case):
    def pages(self, mean):
        ended = self.trace([self.program("sampling_mix"), self.path("books")], options=["--sample", str(mean)])
        self.assert_ended(ended, 0, out="")
        pid, books = harness.read_books(self.path("books"))
        return pid, books, harness.pages_of(self.profile(), pid)

    def check_estimates(self, mean, runs):
        sums = {size: [0, 0, 0, 0] for size in SIZES}
        outside = 0
        for _ in range(runs):
            pid, books, found = self.pages(mean)
            for size in SIZES:
                page = found.get((f"bytes_{size}", "malloc"), harness.Page())
                sums[size] = [total + number for total, number in zip(sums[size], page.numbers)]
            total = sum(page.bytes for page in found.values())
            # The report's own 95 % interval for the bytes in use.
            variance = sum(sample.labels.get("inuse_error", 0) ** 2 for sample in self.profile().samples
                           if harness.site_of(sample) and sample.labels.get("pid") == pid)
            truth = sum(page.bytes for page in books.values())
            outside += abs(total - truth) > 1.96 * math.sqrt(variance)
        for size in SIZES:
            p = 1 - math.exp(-size / mean)
            truth = books[f"bytes_{size}", "malloc"]
            for index, (value, scale) in enumerate((("blocks", 1), ("bytes", size), ("ever_blocks", 1),
                                                    ("ever_bytes", size))):
                expected = getattr(truth, value) * runs
                count = expected / scale
                bound = DEVIATIONS * scale * math.sqrt(count * (1 - p) / p) + 1e-3 * expected + runs * scale
                self.assertLess(abs(sums[size][index] - expected), bound,
                                f"{value} of {size}-byte blocks at mean {mean}: {sums[size][index]}, truth {expected}")
        # 5 % of the runs are outside by right; more than half of 30, once in 1e11.
        self.assertLessEqual(outside, max(15, runs * 15 // 100 + 10))

    def test_estimates_at_8_kib(self):
        self.check_estimates(8192, harness.RUNS or 20)

    def test_estimates_at_64_kib(self):
        self.check_estimates(65536, harness.RUNS or 20)

    def test_estimates_at_512_kib(self):
        self.check_estimates(524288, harness.RUNS or 20)

    def test_blocks_far_above_the_mean_are_exact(self):
        _, _, found = self.pages(4096)
        page = found["bytes_3000000", "malloc"]
        self.assertEqual(page.numbers, (4, 12000000, 8, 24000000))

    def test_two_runs_sample_differently(self):
        """Not by a fixed seed, so that a periodic program cannot hide from it: 20 equal runs never happen."""
        seen = {tuple(sorted((key, page.numbers) for key, page in self.pages(65536)[2].items())) for _ in range(20)}
        self.assertGreater(len(seen), 1)

    def test_the_profile_says_how_it_was_sampled(self):
        self.pages(65536)
        self.assertTrue([comment for comment in self.profile().comments if "65536" in comment])

    def test_an_estimate_is_shown_with_its_error(self):
        self.pages(65536)
        self.assertIn(" ± ", self.unfreed("report", self.path("profile")).out)
        self.assertIn(" ± ", self.unfreed("report", "--format", "html", self.path("profile")).out)

    def test_what_is_exact_has_no_error(self):
        self.pages(0)
        self.assertNotIn("±", self.unfreed("report", self.path("profile")).out)
        self.assertFalse([sample for sample in self.profile().samples if "inuse_error" in sample.labels])

    def test_every_allocation_by_default(self):
        self.trace_and_check("sampling_mix", options=["--sample", "0"])
