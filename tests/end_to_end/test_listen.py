"""mailroom listen: what it prints, and how it ends."""

import base64
import os
import signal
import subprocess

from support import DONE, ERROR, LIMIT, TIMEOUT, EndToEnd, main


class Listen(EndToEnd):
    def test_one_line_a_message(self):
        listener = self.listen("a", arguments=["--count", "3"])
        self.send("a", "hello")
        self.send("a", "")
        self.send("A", "third")
        self.assertEqual(listener.wait(), DONE)
        self.assertEqual(listener.rest(), [b"hello\n", b"\n", b"third\n"])

    def test_names_with_blanks_and_folders(self):
        names = ["front door", "a/b/c", "100%", "Straße", "-x"[1:], "a:b", "'quoted'", "\\\\.\\mailslot\\full"]
        listener = self.listen(*names, arguments=["--json"])
        for name in names:
            self.send(name, name)
        self.assertEqual(sorted(m["text"] for m in self.messages(listener, len(names))), sorted(names))

    def test_a_message_is_always_one_line(self):
        listener = self.listen("a")
        plain = self.connect("a")
        for raw, shown in ((b"two\nlines\r\n", rb"two\nlines\r\n"), (b"\x1b[31mred\x07", rb"\x1b[31mred\x07"),
                           (b"tab\tstays", b"tab\tstays"), (b"\x00\x7f", rb"\x00\x7f"), (b"C:\\x", rb"C:\\x"),
                           ("Grüße €😀".encode(), "Grüße €😀".encode()), (b"\xff\xfe", rb"\xff\xfe"),
                           ("\x85".encode(), rb"\xc2\x85"), ("\u2028".encode(), rb"\xe2\x80\xa8"),
                           (b"\xc3", rb"\xc3"), (b"\xed\xa0\x80", rb"\xed\xa0\x80"), (b"", b"")):
            plain.send(raw)
            self.assertEqual(listener.line(), shown + b"\n")

    def test_raw(self):
        listener = self.listen("a", arguments=["--raw", "--count", "2"])
        plain = self.connect("a")
        plain.send(b"\xff\x00two\nlines")
        plain.send(b"")
        listener.wait()
        self.assertEqual(b"".join(listener.rest()), b"\xff\x00two\nlines\n\n")

    def test_several_names_are_told_apart(self):
        listener = self.listen("a", "b", arguments=["--count", "2"])
        self.send("a", "one")
        self.assertEqual(listener.line(), b"a: one\n")
        self.send("b", "two")
        self.assertEqual(listener.line(), b"b: two\n")
        self.assertEqual(listener.wait(), DONE)

    def test_json_fields(self):
        listener = self.listen("a", arguments=["--json"])
        with subprocess.Popen([self.program, "send", "a", "hello", "--repeat", "2"], env=self.environment) as sender:
            sender.wait(LIMIT)
        first, second = self.messages(listener, 2)
        self.assertEqual(list(first), ["slot", "length", "priority", "pid", "uid", "gid", "writer", "sequence", "redelivered",
                                       "lane", "text"])
        self.assertEqual((first["slot"], first["length"], first["text"]), ("a", 5, "hello"))
        self.assertEqual((first["pid"], first["uid"], first["gid"]), (sender.pid, os.getuid(), os.getgid()))
        self.assertEqual((first["sequence"], second["sequence"]), (1, 2))
        self.assertIs(first["redelivered"], False)
        self.assertRegex(first["writer"], r"^[0-9]{1,20}$")
        self.assertLess(int(first["writer"]), 2**64)
        self.assertEqual(first["writer"], second["writer"])

    def test_json_of_every_byte_and_character(self):
        listener = self.listen("a", arguments=["--json"])
        plain = self.connect("a")
        texts = [bytes([i]) for i in range(256)] + [bytes(range(256)), b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"]
        texts += [chr(c).encode() for c in (0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF)]
        for text in texts:
            plain.send(text)
        for text, message in zip(texts, self.messages(listener, len(texts))):
            self.assertEqual(message["length"], len(text))
            try:
                decoded = text.decode()
            except UnicodeDecodeError:
                self.assertNotIn("text", message)
                self.assertEqual(base64.b64decode(message["base64"], validate=True), text)
            else:
                self.assertNotIn("base64", message)
                self.assertEqual(message["text"], decoded)

    def test_count_with_many_waiting(self):
        listener = self.listen("a", arguments=["--count", "1000"])
        self.send("a", "--lines", input=b"".join(b"%d\n" % i for i in range(1000)))
        self.assertEqual(listener.wait(), DONE)
        self.assertEqual(listener.rest(), [b"%d\n" % i for i in range(1000)])

    def test_surplus_is_counted(self):
        listener = self.listen("a", arguments=["--count", "1"])
        plain = self.connect("a")
        for _ in range(50):
            try:
                plain.send(b"x")
            except OSError:
                break
        self.assertEqual(listener.wait(), DONE)
        self.assertEqual(listener.rest(), [b"x\n"])

    def test_time_out_is_for_the_next_message(self):
        listener = self.listen("a", arguments=["--timeout", str(int(3000 * LIMIT / 30))])
        for i in range(3):
            self.send("a", str(i))
            self.assertEqual(listener.line(), b"%d\n" % i)
        self.assertEqual(listener.wait(), TIMEOUT)
        self.assertIn("3 messages printed", listener.error_text())

    def end_by(self, number):
        listener = self.listen("a")
        self.send("a", "one")
        self.assertEqual(listener.line(), b"one\n")
        listener.signal(number)
        self.assertEqual(listener.wait(), DONE)
        self.assertIn("1 messages printed", listener.error_text())
        self.assertEqual(self.list(), {})

    def test_ends_at_ctrl_c(self):
        self.end_by(signal.SIGINT)

    def test_ends_at_sigterm(self):
        self.end_by(signal.SIGTERM)

    def test_head_ends_it_quietly(self):
        shell = f'"{self.program}" listen a --quiet | head -1; echo "${{PIPESTATUS[0]}}"'
        pipeline = self.start_other("bash", "-c", shell)
        self.send("a", "one", "--wait", str(int(1000 * LIMIT)))
        self.assertEqual(pipeline.line(), b"one\n")
        # Nothing more is sent: it sees by itself that nobody reads.
        self.assertEqual(pipeline.line(), b"0\n")
        self.assertEqual(pipeline.wait(), 0)
        self.assertEqual(pipeline.error_text(), "")

    def test_head_in_a_flood(self):
        shell = f'"{self.program}" listen a --quiet | head -1; echo "${{PIPESTATUS[0]}}"'
        pipeline = self.start_other("bash", "-c", shell)
        flood = self.start("send", "a", "line", "--repeat", "1000000000", "--wait", str(int(1000 * LIMIT)))
        self.assertEqual(pipeline.line(), b"line\n")
        self.assertEqual(pipeline.line(), b"0\n")
        self.assertEqual(pipeline.error_text(), "")
        flood.signal(signal.SIGTERM)
        flood.wait()

    def test_reader_that_goes_in_the_middle_of_a_write(self):
        reading, writing = os.pipe()
        listener = self.listen("a", stdout=writing)
        os.close(writing)
        sender = self.start("send", "a", "x" * 4000, "--repeat", "200")  # far more than the pipe holds
        self.until(lambda: self.in_pipe_write(listener), "it waits for the pipe")
        os.close(reading)
        self.assertEqual(listener.wait(), DONE)
        sender.signal(signal.SIGKILL)  # it waits for the next reader
        self.assertEqual(listener.error_text(), "mailroom: listening on a\n")

    @staticmethod
    def in_pipe_write(program):
        with open(f"/proc/{program.pid}/syscall", encoding="ascii") as file:
            fields = file.read().split()
        return fields[0] in ("1", "64") and int(fields[1], 16) == 1  # write (x86, arm) on standard output

    def test_full_disk_is_an_error(self):
        with open("/dev/full", "wb") as full:
            listener = self.listen("a", stdout=full)
            self.connect("a").send(b"lost")
            self.assertEqual(listener.wait(), ERROR)
        self.assertIn("No space left", listener.error_text())
        self.assertIn("1 messages were received but not written", listener.error_text())

    def test_nobody_reads_the_pipe_and_sigterm(self):
        reading, writing = os.pipe()
        stuck = self.listen("b", stdout=writing)
        os.close(writing)
        sender = self.start("send", "b", "x" * 4000, "--repeat", "200")
        self.until(lambda: self.in_pipe_write(stuck), "it waits for the pipe")
        stuck.signal(signal.SIGTERM)
        self.assertEqual(stuck.wait(), ERROR)
        self.assertIn("is not read", stuck.error_text())
        os.close(reading)
        sender.signal(signal.SIGKILL)

    def test_a_line_is_flushed_at_once(self):
        listener = self.listen("a")
        self.send("a", "now")
        self.assertEqual(listener.line(), b"now\n")

    def test_max_message(self):
        listener = self.listen("a", arguments=["--max-message", "10", "--json"])
        result = self.send("a", "x" * 11, code=ERROR)
        self.assertIn("MR_E_TOO_BIG", result.stderr.decode())
        self.send("a", "x" * 10)
        self.assertEqual(self.messages(listener, 1)[0]["length"], 10)

    def test_help_names_all_json_fields(self):
        text = self.run_mailroom("listen", "--help").stdout.decode()
        for field in ("slot", "length", "priority", "pid", "uid", "gid", "writer", "sequence", "redelivered", "lane", "text", "base64"):
            self.assertIn(field, text)


main("listen")
