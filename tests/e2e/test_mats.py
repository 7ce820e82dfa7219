"""Matrices of OpenCV: whose memory a block is, by rows, columns and type, in both backends."""

import subprocess

import harness
from test_attach import OBSTACLE

# tests/programs/opencv_mats.cpp: site, shape -> blocks. Without a shape: records, memory that is no matrix's.
SHAPES = {
    ("two_shapes", "48x64 CV_8UC3"): 3,
    ("two_shapes", "100x64 CV_32FC1"): 2,
    ("volume", "3x24x32 CV_64FC1"): 1,
    ("shared", "30x40 CV_16SC2"): 1,
    ("image", "48x65 CV_8UC3"): 1,
    ("old_matrix", "5x7 CV_32FC2"): 1,
    ("old_volume", "2x3x4 CV_32SC1"): 1,
}
WITHOUT = {"own_memory": 100, "no_matrix": 600}  # site -> bytes of its one block without a shape


class Mats(harness.Case):
    def check(self, profile):
        shapes, without = {}, {}
        for sample in profile.samples:
            site, shape = harness.site_of(sample), sample.labels.get("shape")
            if site is None or not sample.inuse_objects:
                continue
            if shape is not None:
                shapes[site, shape] = shapes.get((site, shape), 0) + sample.inuse_objects
                self.assertEqual(sample.labels["domain"], "opencv")
                self.assertEqual(sample.names[0], "cv::fastMalloc(unsigned long)")
            else:
                without.setdefault(site, []).append(sample.inuse_space)
        self.assertEqual(shapes, SHAPES)
        for site, size in WITHOUT.items():
            self.assertIn(size, without[site])
        self.assertNotIn("storage", {site for site, _ in shapes})

    def run_ebpf(self, *command):
        if OBSTACLE:
            self.skipTest(OBSTACLE)
        ended = self.execute([harness.UNFREED, "run", "-q", "--backend", "ebpf", "-o", self.path("profile"), "--", *command])
        self.assert_ended(ended, 0, None)
        return self.profile()

    def test_shapes(self):
        self.assert_ended(self.trace([self.program("opencv_mats")]), 0, "")
        profile = self.profile()
        self.check(profile)
        big = [sample for sample in profile.samples if sample.labels.get("shape") == "100x64 CV_32FC1"]
        self.assertEqual([(s.inuse_objects, s.inuse_space, s.alloc_objects, s.alloc_space) for s in big],
                         [(2, 51200, 2, 51200)])

    def test_shapes_by_the_kernel(self):
        self.check(self.run_ebpf(self.program("opencv_mats")))

    def test_shapes_of_a_running_program(self):
        if OBSTACLE:
            self.skipTest(OBSTACLE)
        target = self.start([self.program("opencv_mats"), self.path("books")], stdin=subprocess.PIPE)
        unfreed = self.start([harness.UNFREED, "attach", "-q", "-o", self.path("profile"), str(target.pid)])
        self.assertEqual(unfreed.stderr.readline(), f"attached to {target.pid}\n")
        target.stdin.write("go\n")
        target.stdin.flush()
        self.wait_for_file("books")
        target.stdin.close()
        target.stdin = None
        self.assertEqual(target.wait(harness.DEADLINE), 0)
        self.assert_ended(self.finish(unfreed), 0)
        self.check(self.profile())

    def test_the_list_of_live_matrices(self):
        self.assert_ended(self.trace([self.program("opencv_mats")]), 0, "")
        ended = self.execute([harness.UNFREED, "report", "--value", "inuse_objects", "--domain", "opencv", "--focus",
                              "site_two_shapes", self.path("profile")])
        self.assert_ended(ended, 0)
        self.assertRegex(ended.out, "#1 27.0 KiB in 3 blocks")
        self.assertRegex(ended.out, r"(?m)^    48x64 CV_8UC3\n    cv::fastMalloc\(unsigned long\)\n    cv::Mat::create")
        self.assertRegex(ended.out, r"(?m)^    100x64 CV_32FC1\n    cv::fastMalloc\(unsigned long\)\n    cv::Mat::create")

    def check_service(self, profile):
        """The results that nobody closes are told apart from what matching used meanwhile."""
        leaked = [sample for sample in profile.samples if sample.labels.get("shape") == "480x640 CV_32FC1"
                  and harness.site_of(sample) == "match" and sample.inuse_objects]
        self.assertEqual(sum(sample.inuse_objects for sample in leaked), 20)
        for sample in leaked:
            self.assertIn("main.(*Finder).scan", sample.names)
        held = {sample.labels.get("shape"): sample.inuse_objects for sample in profile.samples
                if harness.site_of(sample) == "held_by_finalizer" and sample.labels["domain"] == "opencv"}
        self.assertEqual(held, {"100x200 CV_16UC1": 5})

    def test_behind_go(self):
        self.assert_ended(self.trace([self.program("go_service")]), 0, None)
        self.check_service(self.profile())

    def test_behind_go_by_the_kernel(self):
        self.check_service(self.run_ebpf(self.program("go_service")))

    # Ends without giving anything back, as Python's own end would.
    PYTHON = """
import cv2, numpy, os, sys
print("ready", flush=True)
sys.stdin.readline()
kept = [cv2.GaussianBlur(numpy.zeros((48, 64, 3), numpy.uint8), (3, 3), 1) for i in range(4)]
kept += [cv2.matchTemplate(kept[0], kept[0][:9, :9].copy(), cv2.TM_SQDIFF) for i in range(2)]
os._exit(0)
"""

    def check_python(self):
        """Arrays that cv2 made are numpy's memory. (Of those that numpy itself makes nothing is said.)"""
        live = {}
        for sample in self.profile().samples:
            if sample.inuse_objects and "shape" in sample.labels:
                live[sample.labels["shape"]] = live.get(sample.labels["shape"], 0) + sample.inuse_objects
                self.assertEqual(sample.labels["domain"], "opencv")
        self.assertEqual({shape: live.get(shape) for shape in ("48x64 CV_8UC3", "40x56 CV_32FC1")},
                         {"48x64 CV_8UC3": 4, "40x56 CV_32FC1": 2})

    def python(self):
        if self.execute(["/usr/bin/python3", "-c", "import cv2"]).status != 0:
            self.skipTest("python3-opencv is not installed")
        return ["/usr/bin/python3", "-c", self.PYTHON]

    def test_python(self):
        ended = self.execute(self.run_command(self.python()), input="go\n")
        self.assert_ended(ended, 0, "ready\n", None)
        self.check_python()

    def test_running_python(self):
        if OBSTACLE:
            self.skipTest(OBSTACLE)
        python = self.start(self.python(), stdin=subprocess.PIPE)
        self.assertEqual(python.stdout.readline(), "ready\n")
        unfreed = self.start([harness.UNFREED, "attach", "-q", "-o", self.path("profile"), str(python.pid)])
        self.assertEqual(unfreed.stderr.readline(), f"attached to {python.pid}\n")
        python.stdin.write("go\n")
        python.stdin.flush()
        self.assertEqual(python.wait(harness.DEADLINE), 0)
        self.assert_ended(self.finish(unfreed), 0)
        self.check_python()
