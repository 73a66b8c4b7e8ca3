"""Help, version, exit codes, and what a careless user types."""

import os
import subprocess

from support import ERROR, LIMIT, NO_SLOT, NOT_ALLOWED, TIMEOUT, USAGE, EndToEnd, main


class Commands(EndToEnd):
    COMMANDS = ("listen", "send", "list", "path", "hub")

    def usage(self, *arguments, names=(), **options):
        """Exit code 2, nothing on standard output, and an error that names the argument."""
        result = self.run_mailroom(*arguments, code=USAGE, **options)
        self.assertEqual(result.stdout, b"")
        text = result.stderr.decode(errors="replace")
        for name in names:
            self.assertIn(name, text)
        return text

    def test_help_of_all(self):
        text = self.run_mailroom("--help").stdout.decode()
        for command in self.COMMANDS:
            self.assertIn(command, text)
        self.assertIn("Exit codes: 0 done, 1 error, 2 usage, 3 time-out, 4 no such slot, 5 not allowed", text)
        self.assertEqual(self.run_mailroom("help").stdout.decode(), text)
        self.assertEqual(self.run_mailroom("-h").stdout.decode(), text)

    def test_help_of_each_command(self):
        for command in self.COMMANDS:
            text = self.run_mailroom(command, "--help").stdout.decode()
            self.assertTrue(text.startswith(f"usage: mailroom {command}"), text)
            self.assertIn("Exit codes", text)
            self.assertLessEqual(max(map(len, text.splitlines())), 120)
            self.assertEqual(self.run_mailroom("help", command).stdout.decode(), text)
            self.assertEqual(self.run_mailroom(command, "-h").stdout.decode(), text)

    def test_version(self):
        text = self.run_mailroom("--version").stdout.decode()
        self.assertRegex(text, r"^mailroom \d+\.\d+\.\d+\n$")

    def test_help_to_a_full_disk_is_an_error(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([self.program, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT,
                                check=False)
        self.assertEqual(result.returncode, ERROR)
        self.assertIn(b"No space left", result.stderr)

    def test_no_arguments(self):
        self.usage(names=("which command?", "listen", "send"))
        self.usage("listen", names=("which slot?",))
        self.usage("send", names=("which slot?",))
        self.usage("send", "a", names=("TEXT", "--stdin", "--lines", "--follow"))
        self.usage("path", names=("which slot?",))
        self.usage("hub", names=("--slots",))

    def test_unknown_command(self):
        self.usage("lisen", names=("'lisen'", "listen"))
        self.usage("help", "lisen", names=("'lisen'",))

    def test_unknown_options(self):
        self.usage("list", "--jsn", names=("--jsn",))
        self.usage("listen", "a", "--cuont", "3", names=("--cuont",))
        self.usage("list", "-x", names=("-x",))
        self.usage("list", "--json", "-x", names=("-x",))
        self.usage("send", "a", "-5", names=("-5", "--"))
        self.usage("list", "--json=yes", names=("--json=yes", "no value"))
        self.usage("listen", "a", "--count", names=("--count", "needs a value"))

    def test_too_many_arguments(self):
        self.usage("list", "a", names=("'a'",))
        self.usage("path", "a", "b", names=("one NAME",))
        self.usage("send", "a", "two", "words", names=("'words'", "quotes"))
        self.usage("hub", "--slots", "a", "b", names=("'b'",))

    def test_numbers(self):
        for text in ("", "x", "5x", " 5", "5 ", "-1", "+1", "0x10", "1e3", "1.5", "99999999999999999999999"):
            self.usage("listen", f"--count={text}", "a", names=("--count",))
            self.usage("listen", f"--timeout={text}", "a", names=("--timeout",))
            self.usage("listen", f"--max-message={text}", "a", names=("--max-message",))
            self.usage("send", "a", "t", f"--wait={text}", names=("--wait",))
            self.usage("send", "a", "t", f"--repeat={text}", names=("--repeat",))
            self.usage("hub", "--slots", "a", f"--seconds={text}", names=("--seconds",))
        self.usage("listen", "--count=0", "a", names=("--count", "0"))
        self.usage("listen", f"--timeout={2**32}", "a", names=("--timeout",))
        self.usage("send", "a", "t", "--repeat=0", names=("--repeat",))

    def test_options_that_do_not_go_together(self):
        self.usage("send", "a", "text", "--stdin", names=("only one of",))
        self.usage("send", "a", "--lines", "--stdin", names=("only one of",))
        self.usage("send", "a", "--lines", "--repeat", "2", names=("--repeat",))
        self.usage("send", "a", "--follow", "f", "--repeat", "2", names=("--repeat",))
        self.usage("send", "a", "text", "--state", "f", names=("--state", "--follow"))
        self.usage("send", "a", "text", "--from-end", names=("--from-end", "--follow"))

    def test_access(self):
        for rule in ("", "all", "Owner", "group:", "group:no such group", "list:", "list:nobody,",
                     "list:no such user", "list:@no such group", "list:-1", "list:4294967295", "list:nobody,@"):
            self.usage("listen", "a", f"--access={rule}", names=("--access",))
        self.usage("send", "a", "t", "--owner", "no such user", names=("--owner", "no such user"))

    def test_names_that_are_none(self):
        for name in ("", "a\\..\\b", "..", ".", "a//b", "a\nb", "x" * 256, "\\\\elsewhere\\mailslot\\a"):
            text = self.usage("listen", name)
            self.assertIn("MR_E_NAME", text)
        for name in ("", "..", "a\tb"):
            self.usage("send", name, "text", names=("MR_E_NAME",))
            self.usage("path", name, names=("MR_E_NAME",))
        self.usage("listen", b"\xff\xfe", names=("MR_E_NAME",))

    def test_slot_patterns(self):
        for pattern in ("", "%s:3", "a%n:3", "%d", "%d:", "%d:0", "%d:x", "%d:-1", "%d:100001", "%d-%d:3", "%", "a%99d:2",
                        "%d:3 ", "%*d:3", "%ld:3", "%5", "%d:99999999999999999999"):
            self.usage("hub", "--slots", pattern, names=(f"'{pattern}'",))

    def test_no_such_slot_is_4(self):
        for arguments in (("send", "absent", "text"), ("path", "absent"), ("send", "absent", "text", "--wait", "30")):
            result = self.run_mailroom(*arguments, code=NO_SLOT)
            self.assertIn("absent", result.stderr.decode())

    def test_time_out_is_3(self):
        result = self.run_mailroom("listen", "a", "--timeout", "30", code=TIMEOUT)
        self.assertIn("30 ms", result.stderr.decode())
        self.assertEqual(self.run_mailroom("listen", "a", "--timeout", "0", code=TIMEOUT).stdout, b"")

    def test_folder_of_slots_that_is_none(self):
        file = self.folder / "a file"
        file.write_text("")
        self.environment["MAILROOM_DIR"] = str(file)
        result = self.run_mailroom("listen", "a", "--timeout", "0", code=None)
        self.assertIn(result.returncode, (ERROR, NOT_ALLOWED))
        self.assertIn("a file", result.stderr.decode())

    def test_closed_standard_streams(self):
        shell = f'"{self.program}" listen a >&-'
        result = subprocess.run(["sh", "-c", shell], env=self.environment, stderr=subprocess.PIPE, timeout=LIMIT,
                                check=False)
        self.assertEqual(result.returncode, ERROR)
        self.assertIn(b"standard output is closed", result.stderr)
        shell = f'"{self.program}" send a --stdin <&-'
        result = subprocess.run(["sh", "-c", shell], env=self.environment, stderr=subprocess.PIPE, timeout=LIMIT,
                                check=False)
        self.assertEqual(result.returncode, ERROR)
        self.assertIn(b"standard input is closed", result.stderr)

    def test_files_that_are_not_there(self):
        self.listen("a")
        for name in ("absent.log", "no folder/absent.log"):
            result = self.send("a", "--follow", name, code=ERROR)
            self.assertIn(name, result.stderr.decode())
        self.assertIn("no regular file", self.send("a", "--follow", ".", code=ERROR).stderr.decode())
        result = self.send("a", "text", "--log", "no folder/log", code=ERROR)
        self.assertIn("no folder/log", result.stderr.decode())
        result = self.run_mailroom("hub", "--slots", "b", "--output", "no folder/out", code=ERROR)
        self.assertIn("no folder/out", result.stderr.decode())

    def test_no_sentence_takes_a_terminals_commands_along(self):
        for name in ("a\x1b[2J", "a\u009b2J", "a\nmailroom: b", "a\x7f"):
            for arguments in ((name,), ("listen", name), ("send", "a", "--follow", name), ("listen", "a", "--count", name)):
                error = self.run_mailroom(*arguments, code=None).stderr.decode()
                self.assertIn("a?", error)
                self.assertNotRegex(error, "[\x00-\x09\x0b-\x1f\x7f-\x9f]|\nmailroom: b")

    def test_files_that_cannot_be_read(self):
        if os.geteuid() == 0:
            # Root reads everything but a folder.
            (self.folder / "dir").mkdir()
            self.listen("a")
            self.assertIn("cannot", self.send("a", "--lines", code=ERROR,
                                              stdin=os.open(self.folder / "dir", os.O_RDONLY)).stderr.decode())
            return
        secret = self.folder / "secret"
        secret.write_text("x\n")
        secret.chmod(0)
        self.listen("a")
        self.assertIn("secret", self.send("a", "--follow", secret, code=ERROR).stderr.decode())


main("commands")
