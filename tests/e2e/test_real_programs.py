"""Real programs give the same output and status under unfreed as alone, and their memory is seen."""

import json
import os

import harness

HEADER_HEAVY = """
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <regex>
#include <string>
#include <unordered_map>
#include <vector>
int main() {
    std::map<std::string, std::vector<int>> numbers{{"one", {1}}, {"two", {1, 2}}};
    std::regex word("[a-z]+");
    for (const auto& [name, list] : numbers)
        if (std::regex_match(name, word)) std::cout << name << ' ' << list.size() << '\\n';
}
"""


class RealPrograms(harness.Case):
    def same_as_alone(self, command, options=(), **start_options):
        """Runs twice; returns the profile of the second run, which must hold something."""
        alone = self.execute(command, **start_options)
        traced = self.trace(command, options=options, **start_options)
        self.assert_ended(traced, alone.status, alone.out, alone.err)
        profile = self.profile()
        self.assertGreater(profile.total("alloc_objects"), 0)
        self.assertGreaterEqual(profile.total("alloc_space"), profile.total("inuse_space"))
        return profile

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return name

    def test_gxx_and_its_children(self):
        source = self.write("heavy.cpp", HEADER_HEAVY)
        profile = self.same_as_alone([self.tool("g++"), "-std=c++17", "-O0", source, "-o", "heavy"])
        processes = {sample.labels["process"] for sample in profile.samples}
        self.assertLessEqual({"g++", "cc1plus", "as", "collect2", "ld"}, processes)
        self.assert_ended(self.execute([self.path("heavy")]), 0, "one 1\ntwo 2\n")

    PYTHON = "import json,re; d=[{'k%d' % i: [i]*3} for i in range(3000)]; s=json.dumps(d); " \
             "print(len(json.loads(s)), len(re.findall('k[0-9]+', s)))"

    def test_python(self):
        self.same_as_alone([self.tool("python3.11"), "-c", self.PYTHON])

    def test_python_with_malloc(self):
        self.same_as_alone([self.tool("python3.11"), "-c", self.PYTHON],
                           env=harness.ENVIRONMENT | {"PYTHONMALLOC": "malloc"})

    def test_python_that_fails(self):
        self.same_as_alone([self.tool("python3.11"), "-c", "import sys; sys.stderr.write('no\\n'); sys.exit(3)"])

    def test_python_multiprocessing(self):
        script = self.write("pool.py", "import multiprocessing\ndef f(x): return x * x\nif __name__ == '__main__':\n"
                                       "    with multiprocessing.Pool(3) as pool: print(sum(pool.map(f, range(100))))\n")
        self.same_as_alone([self.tool("python3.11"), script])

    def test_sqlite(self):
        sql = ("create table t(a integer primary key, b text); with recursive n(i) as (select 1 union all select i+1 "
               "from n where i < 20000) insert into t select i, 'row ' || i from n; create index x on t(b); "
               "select count(*), max(b) from t where b like 'row 1%';")
        self.same_as_alone([self.tool("sqlite3"), ":memory:", sql])

    def test_git(self):
        git = self.tool("git")
        environment = harness.ENVIRONMENT | {"HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        script = self.write("make.sh", f"""set -e
            rm -rf repo && {git} init -q repo && cd repo
            {git} config user.name n && {git} config user.email n@example.com
            export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
            for i in 1 2 3; do seq 1 $((i * 100)) > file; {git} add file; {git} commit -q -m "commit $i"; done
            {git} gc -q; {git} log --stat --format='%H %s'; {git} show-ref || true; {git} status --short""")
        self.same_as_alone([self.tool("sh"), script], env=environment)

    def test_node(self):
        code = ("const m = new Map(); for (let i = 0; i < 20000; i++) m.set('k' + i, {i}); const b = Buffer.alloc(1e6, 7);"
                "console.log(m.size, b.length, JSON.stringify([...m.values()].slice(0, 3)));")
        self.same_as_alone([self.tool("node"), "-e", code])

    def test_xmllint(self):
        rows = "".join(f"<row id='{i}'><name>n{i}</name></row>\n" for i in range(20000))
        document = self.write("big.xml", f"<?xml version='1.0'?>\n<rows>{rows}</rows>\n")
        self.same_as_alone([self.tool("xmllint"), "--xpath", "count(//row)", document])

    def test_opencv(self):
        self.same_as_alone([self.program("opencv_loop"), self.path("books")])
        found = self.assert_agrees(self.profile(), "books", domain="opencv")
        self.assertEqual(found["leaked_image", "opencv"].bytes, 8 * 48 * 64 * 3)

    def test_go_with_cgo(self):
        """The C side's leak is whole; goroutines end by a raw exit_group."""
        profile = self.same_as_alone([self.program("cgo_leak")])
        leaked = [sample for sample in profile.samples if harness.site_of(sample) == "c_leak"]
        self.assertEqual(sum(sample.inuse_objects for sample in leaked), 25)
        self.assertEqual(sum(sample.inuse_space for sample in leaked), 25000)
        self.assertEqual(sum(sample.alloc_objects for sample in leaked), 50)

    def test_bash_script(self):
        script = self.write("script.sh", "a=(); for i in {1..500}; do a+=(\"$i $(( i * i ))\"); done\n"
                                         "printf '%s\\n' \"${a[@]}\" | sort -n | tail -2; (exit 4); echo $?; trap 'echo bye' EXIT\n")
        self.same_as_alone([self.tool("bash"), script])

    def test_perl(self):
        self.same_as_alone([self.tool("perl"), "-e", "my %h; $h{$_ % 97} .= $_ for 1..50000; print length($h{5}), qq(\\n);"])

    def test_program_linked_with_jemalloc(self):
        self.check_ledger("ledger_jemalloc")

    def test_program_linked_with_tcmalloc(self):
        self.check_ledger("ledger_tcmalloc_minimal")

    def test_program_linked_with_mimalloc(self):
        self.check_ledger("ledger_mimalloc")

    def check_ledger(self, program):
        self.same_as_alone([self.program(program), self.path("books"), "exit", "500"])
        self.assert_agrees(self.profile(), "books")

    def test_static_program_is_named_as_one(self):
        """The shim cannot see it: unfreed says so before it starts, and the program runs as it would."""
        program = self.program("static_program")
        ended = self.trace([program])
        self.assert_one_line(ended, 125, "static")
        self.assertEqual(ended.out, "", "it did not run")

    def test_a_program_without_allocations(self):
        alone = self.execute([self.tool("true")])
        ended = self.trace([self.tool("true")])
        self.assert_ended(ended, 0, alone.out, err=None)  # it is told that nothing was recorded, and why
        self.assertTrue(os.path.exists(self.path("profile")))

    def test_report_of_every_format(self):
        self.same_as_alone([self.tool("python3.11"), "-c", self.PYTHON])
        for kind in ("text", "folded", "svg", "html", "json", "pprof"):
            ended = self.execute([harness.UNFREED, "report", "--format", kind, "-o", f"out.{kind}", "profile"])
            self.assert_ended(ended, 0)
            self.assertGreater(os.path.getsize(self.path(f"out.{kind}")), 0)
        json.loads((self.folder / "out.json").read_text())
