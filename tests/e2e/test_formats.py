"""The profile is pprof for everybody, and every report says the same numbers."""

import json
import os
import re
import xml.etree.ElementTree

import harness


class Formats(harness.Case):
    def setUp(self):
        super().setUp()
        self.made = self.trace_and_check("ledger", "return", "500", status=5)

    def report(self, *options):
        ended = self.execute([harness.UNFREED, "report", *options, "profile"])
        self.assert_ended(ended, 0)
        return ended.out

    def go_pprof(self, *options):
        environment = harness.ENVIRONMENT | {"HOME": str(self.folder), "PPROF_TMPDIR": str(self.folder), "GOFLAGS": "",
                                             "GOCACHE": self.path("cache"), "PPROF_BINARY_PATH": self.path("none")}
        ended = self.execute([self.tool("go"), "tool", "pprof", "-symbolize=none", *options, "profile"], env=environment)
        self.assertEqual(ended.status, 0, ended)
        return ended.out

    def test_go_tool_pprof_top_has_the_same_totals(self):
        for value, unit in (("inuse_space", "B"), ("inuse_objects", ""), ("alloc_space", "B"), ("alloc_objects", "")):
            options = ["-unit=B"] if unit else []
            out = self.go_pprof("-top", "-nodecount=100000", "-nodefraction=0", f"-sample_index={value}", *options)
            total = re.search(r"of (\d+)%s total" % unit, out)
            self.assertTrue(total, out[:400])
            self.assertEqual(int(total[1]), self.made.total(value))

    def test_go_tool_pprof_traces_has_every_path(self):
        out = self.go_pprof("-traces", "-unit=B", "-sample_index=inuse_space")
        total = sum(int(number) for number in re.findall(r"(?m)^ +(\d+)B ", out))
        self.assertEqual(total, self.made.total("inuse_space"))
        self.assertIn("site_malloc", out)

    def test_default_is_bytes_in_use(self):
        self.assertEqual(self.made.default_sample_type, "inuse_space")

    def test_folded_has_the_same_totals(self):
        for value in ("inuse_space", "inuse_objects", "alloc_space", "alloc_objects"):
            lines = self.report("--format", "folded", "--value", value).splitlines()
            for line in lines:
                self.assertRegex(line, r"\A[^;].*[^;] -?\d+\Z")
            self.assertEqual(sum(int(line.rsplit(" ", 1)[1]) for line in lines), self.made.total(value))

    def test_folded_paths_are_those_of_the_profile(self):
        lines = self.report("--format", "folded").splitlines()
        per_site = {}
        for line in lines:
            path, number = line.rsplit(" ", 1)
            sites = re.findall(r"(?:\A|;)site_(\w+)", path)
            if sites:
                per_site[sites[-1]] = per_site.get(sites[-1], 0) + int(number)
        pid, books = harness.read_books(self.path("books"))
        expected = {}
        for (site, _), page in books.items():
            if page.bytes:
                expected[site] = expected.get(site, 0) + page.bytes
        self.assertEqual(per_site, expected)

    def test_json_is_json_with_the_same_totals(self):
        text = self.report("--format", "json")
        json.loads(text)
        self.assertIn(str(self.made.total("inuse_space")), text)
        self.assertIn("nothing lost", text)

    def test_text_has_the_loss_statement_and_the_paths(self):
        text = self.report("--format", "text")
        self.assertIn("nothing lost", text)
        self.assertIn("site_", text)
        self.assertIn("ledger.cpp:", text)

    def test_pprof_again_is_the_same_profile(self):
        ended = self.execute([harness.UNFREED, "report", "--format", "pprof", "-o", "again", "profile"])
        self.assert_ended(ended, 0)
        again = self.profile("again")
        for value in ("inuse_space", "inuse_objects", "alloc_space", "alloc_objects"):
            self.assertEqual(again.total(value), self.made.total(value))
        self.assert_agrees(again, "books")

    def check_lone_file(self, text):
        """Nothing in it makes a browser ask the network or another file."""
        for reference in re.findall(r"""(?:\b(?:href|src)\s*=|\burl\()\s*["']?([^"')\s>]+)""", text):
            self.assertTrue(reference.startswith(("#", "data:")), reference)
        for url in re.findall(r"https?://[^\s\"'<>)]+", text):
            self.assertIn(url, ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/1999/xhtml"))
        self.assertNotRegex(text, r"@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon")

    def test_svg_is_well_formed_and_alone(self):
        text = self.report("--format", "svg")
        root = xml.etree.ElementTree.fromstring(text)
        self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        self.check_lone_file(text)
        self.assertIn("site_malloc", text)

    def test_html_is_alone(self):
        text = self.report("--format", "html")
        self.assertRegex(text[:200].lower(), r"<!doctype html>")
        self.check_lone_file(text)

    def test_svg_in_a_browser(self):
        browser = self.tool("chromium")
        self.assert_ended(self.execute([harness.UNFREED, "report", "--format", "svg", "-o", "flame.svg", "profile"]), 0)
        ended = self.execute([browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={self.path('user')}",
                              "--screenshot=" + self.path("shot.png"), "file://" + self.path("flame.svg")])
        self.assertEqual(ended.status, 0, ended)
        self.assertGreater(os.path.getsize(self.path("shot.png")), 10000)

    def test_focus_and_ignore(self):
        pid, books = harness.read_books(self.path("books"))
        bytes_of = {site: page.bytes for (site, _), page in books.items()}
        lines = self.report("--format", "folded", "--focus", "^site_valloc$").splitlines()
        self.assertEqual(sum(int(line.rsplit(" ", 1)[1]) for line in lines), bytes_of["valloc"])
        lines = self.report("--format", "folded", "--ignore", "^site_valloc$").splitlines()
        self.assertEqual(sum(int(line.rsplit(" ", 1)[1]) for line in lines),
                         self.made.total("inuse_space") - bytes_of["valloc"])

    def test_another_tools_profile_is_read(self):
        """A profile that go's own tool wrote anew: other order, other fields."""
        self.go_pprof("-proto", "-output=" + self.path("foreign"))
        ended = self.execute([harness.UNFREED, "report", "--format", "folded", "foreign"])
        self.assert_ended(ended, 0, out=None)
        lines = ended.out.splitlines()
        self.assertEqual(sum(int(line.rsplit(" ", 1)[1]) for line in lines), self.made.total("inuse_space"))
