"""Children in every way: each process has numbers of its own, and the parent's are not touched."""

import os
import sys

import harness


class Processes(harness.Case):
    def check_tree(self, mode, *roles, options=()):
        ended = self.trace([self.program("process_tree"), self.path("books"), mode], options=options)
        self.assert_ended(ended, 0, out="")
        profile = self.profile()
        by_pid = {}
        for role in roles:
            by_pid.setdefault(harness.read_books(self.path(f"books.{role}"))[0], []).append(f"books.{role}")
        for books in by_pid.values():
            self.assert_agrees(profile, *books)
        self.assert_nothing_lost(profile)
        return profile, set(by_pid)

    def test_fork_without_exec(self):
        self.check_tree("fork", "first", "child")

    def test_fork_of_a_fork(self):
        self.check_tree("fork_twice", "first", "child", "grandchild")

    def test_clone_without_atfork_handlers(self):
        self.check_tree("raw_clone", "first", "child")

    def test_vfork_and_exec(self):
        self.check_tree("vfork", "first", "image")

    def test_posix_spawn(self):
        self.check_tree("spawn", "first", "image")

    def test_fork_and_exec(self):
        _, pids = self.check_tree("fork_and_exec", "first", "child", "image")
        self.assertEqual(len(pids), 2)

    def test_exec_replaces_the_image(self):
        _, pids = self.check_tree("exec", "first", "image")
        self.assertEqual(len(pids), 1)

    def test_failed_exec_changes_nothing(self):
        self.check_tree("failed_exec", "first")

    def test_closefrom(self):
        self.check_tree("closefrom", "first", "child")

    def test_chroot(self):
        self.need_root()
        self.check_tree("chroot", "first", "child")

    def test_daemon_lives_on(self):
        """The recording ends with the command; what the command left behind runs on, untraced."""
        ended = self.trace([self.program("process_tree"), self.path("books"), "daemon"])
        self.assert_ended(ended, 0, out="")
        self.assert_agrees(self.profile(), "books.first")
        pid, _ = harness.read_books(self.wait_for_file("books.child"))
        self.assertNotEqual(pid, harness.read_books(self.path("books.first"))[0])

    def test_no_follow(self):
        profile, _ = self.check_tree("fork_twice", "first", options=["--no-follow"])
        pid, _ = harness.read_books(self.path("books.first"))
        self.assertEqual({sample.labels["pid"] for sample in profile.samples}, {pid})

    def test_no_follow_over_exec(self):
        profile, _ = self.check_tree("vfork", "first", options=["--no-follow"])
        pid, _ = harness.read_books(self.path("books.first"))
        self.assertEqual({sample.labels["pid"] for sample in profile.samples}, {pid})

    def test_labels_name_the_process(self):
        profile, _ = self.check_tree("fork", "first", "child")
        self.assertEqual({sample.labels["process"] for sample in profile.samples}, {"process_tree"})

    def test_an_environment_without_us(self):
        """A command that clears its environment is traced no further, and runs."""
        command = [self.tool("env"), "-i", self.program("process_tree"), self.path("books"), "as_image"]
        self.assert_ended(self.trace(command), 0, out="")
        self.assertTrue(os.path.exists(self.path("books.image")))

    def test_programs_that_cannot_be_followed_are_told_of(self):
        """However they are started: two static ones; one that is not there counts for nothing."""
        static = self.program("static_program")
        start = ("import os, sys; static = sys.argv[1]; os.environ['PATH'] = os.path.dirname(static);"
                 "os.waitpid(os.posix_spawnp('static_program', ['static_program'], os.environ), 0)\n"
                 "try: os.execv(static + '.none', ['none'])\n"
                 "except FileNotFoundError: pass\n"
                 "os.execl(static, 'static_program')")
        alone = self.execute([sys.executable, "-c", start, static])
        ended = self.trace([sys.executable, "-c", start, static])
        self.assert_ended(ended, alone.status, out=alone.out, err=alone.err)
        lost = [comment for comment in self.profile().comments if "static_program" in comment and "lost" in comment]
        self.assertEqual(len(lost), 1, self.profile().comments)
        self.assertRegex(lost[0], r"2 programs started that are not recorded .*: static_program$")
        self.assert_ended(self.trace([sys.executable, "-c", start, static], options=["--no-follow"]), alone.status,
                          out=alone.out, err=alone.err)

    def test_a_program_that_our_library_would_end_starts_without_it(self):
        """AddressSanitizer's library suffers no other before it."""
        compiler = self.tool("cc")
        (self.folder / "sane.c").write_text("int main(void) { return 7; }")
        if self.execute([compiler, "-fsanitize=address", "-o", "sane", "sane.c"]).status:
            self.skipTest("AddressSanitizer is not installed")
        self.assert_ended(self.trace([self.tool("sh"), "-c", "./sane; exit $?"]), 7, out="")
        self.assertIn("sane", [comment for comment in self.profile().comments if "not recorded" in comment][0])

    def test_library_that_calls_dlsym_before_anybody_knows_calloc(self):
        """LD_PRELOAD was set: it is kept and ours added, and each block is counted once."""
        library = self.program("forwarding_malloc.so")
        environment = harness.ENVIRONMENT | {"LD_PRELOAD": library}
        command = [self.program("ledger"), self.path("books"), "return", "1000"]
        self.assert_ended(self.execute(command, env=environment), 5, out="")
        self.assert_ended(self.trace(command, env=environment), 5, out="")
        profile = self.profile()
        self.assert_agrees(profile, "books")
        self.assert_nothing_lost(profile)

    def test_libraries_that_take_each_others_place(self):
        self.trace_and_check("plugin_swap", self.program("plugin_a.so"), self.program("plugin_b.so"))
