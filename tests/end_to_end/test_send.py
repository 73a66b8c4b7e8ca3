"""mailroom send: all its sources, waiting, and exact accounts of what got across."""

import fcntl
import hashlib
import os
import signal
import subprocess
import termios
import time

from support import DONE, ERROR, LIMIT, NO_SLOT, TIMEOUT, EndToEnd, main


class Send(EndToEnd):
    def test_standard_input_is_one_message(self):
        listener = self.listen("a", arguments=["--json"])
        for data in (b"", b"two\nlines\n", b"x" * 100000):
            self.send("a", "--stdin", input=data)
            self.assertEqual(self.messages(listener, 1)[0]["text"].encode(), data)

    def test_lines(self):
        listener = self.listen("a", arguments=["--json"])
        self.send("a", "--lines", input=b"one\n\nthree\r\n  four\nlast without newline")
        self.assertEqual([m["text"] for m in self.messages(listener, 5)],
                         ["one", "", "three\r", "  four", "last without newline"])

    def test_no_lines(self):
        listener = self.listen("a", arguments=["--count", "1"])
        self.send("a", "--lines", input=b"")
        self.send("a", "--lines", stdin=subprocess.DEVNULL)
        self.send("a", "--lines", input=b"\n")
        listener.wait()
        self.assertEqual(listener.rest(), [b"\n"])

    def test_lines_arrive_as_they_come(self):
        listener = self.listen("a")
        sender = self.start("send", "a", "--lines", stdin=subprocess.PIPE)
        for i in range(3):
            sender.process.stdin.write(b"line %d\nhalf" % i)
            sender.process.stdin.flush()
            self.assertEqual(listener.line(), (b"half" if i else b"") + b"line %d\n" % i)
        sender.process.stdin.close()
        self.assertEqual(listener.line(), b"half\n")
        self.assertEqual(sender.wait(), DONE)

    def test_many_lines_in_order(self):
        lines = b"".join(b"line %d %s\n" % (i, b"x" * (i % 400)) for i in range(50000))
        listener = self.listen("a", arguments=["--count", "50000", "--raw"])
        self.send("a", "--lines", input=lines)
        listener.wait()
        self.assertEqual(b"".join(listener.rest()), lines)

    def test_a_line_that_is_too_big(self):
        listener = self.listen("a", arguments=["--max-message", "100", "--count", "2"])
        result = self.send("a", "--lines", input=b"one\n" + b"x" * 101 + b"\nthree\n", code=ERROR)
        self.assertIn("MR_E_TOO_BIG", result.stderr.decode())
        self.assertIn("2 lines were sent, 1 were too long", result.stderr.decode())
        listener.wait()
        self.assertEqual(listener.rest(), [b"one\n", b"three\n"])

    def test_repeat(self):
        listener = self.listen("a", arguments=["--json"])
        self.send("a", "again", "--repeat", "500")
        messages = self.messages(listener, 500)
        self.assertEqual([m["sequence"] for m in messages], list(range(1, 501)))
        self.assertEqual({m["text"] for m in messages}, {"again"})
        self.send("a", "--stdin", "--repeat", "3", input=b"in")
        self.assertEqual([m["text"] for m in self.messages(listener, 3)], ["in"] * 3)

    def test_text_that_begins_with_a_dash(self):
        listener = self.listen("a")
        self.send("a", "--", "--urgent")
        self.assertEqual(listener.line(), b"--urgent\n")

    def test_urgent_is_sent(self):
        listener = self.listen("a", arguments=["--json"])
        self.send("a", "fire", "--urgent")
        self.assertEqual(self.messages(listener, 1)[0]["text"], "fire")

    def test_waits_for_an_absent_slot(self):
        sender = self.start("send", "a", "patient", "--wait", str(int(LIMIT * 1000)))
        listener = self.listen("a")
        self.assertEqual(listener.line(), b"patient\n")
        self.assertEqual(sender.wait(), DONE)

    def test_waits_no_longer_for_an_absent_slot(self):
        started = time.monotonic()
        self.send("a", "text", "--wait", "300", code=NO_SLOT)
        self.assertGreaterEqual(time.monotonic() - started, 0.3)

    def test_a_full_slot_is_a_time_out(self):
        listener = self.listen("a")
        listener.signal(signal.SIGSTOP)
        self.addCleanup(listener.signal, signal.SIGCONT)
        sender = self.start("send", "a", "x" * 10000, "--repeat", "1000000", "--wait", "200")
        self.assertEqual(sender.wait(), TIMEOUT)
        text = sender.error_text()
        self.assertIn("stayed full for 200 ms (MR_E_TIMEOUT)", text)
        sent = int(text.split(" of 1000000 messages were sent")[0].split()[-1])
        self.assertGreater(sent, 0)
        listener.signal(signal.SIGCONT)
        for _ in range(sent):
            self.assertEqual(len(listener.line()), 10001)
        self.send("a", "the next")
        self.assertEqual(listener.line(), b"the next\n")

    def test_a_frozen_slot_and_ctrl_c(self):
        listener = self.listen("a")
        listener.signal(signal.SIGSTOP)
        sender = self.start("send", "a", "x" * 10000, "--repeat", "1000000", "--wait", "4294967295")
        self.until(lambda: self.catches(sender, signal.SIGINT) and self.blocked(sender), "the sender waits")
        sender.signal(signal.SIGINT)
        self.assertEqual(sender.wait(), ERROR)
        self.assertIn("of 1000000 messages were sent", sender.error_text())

    @staticmethod
    def blocked(program):
        with open(f"/proc/{program.pid}/wchan", encoding="ascii") as file:
            return file.read() not in ("0", "")

    def test_ctrl_c_ends_lines(self):
        listener = self.listen("a")
        sender = self.start("send", "a", "--lines", stdin=subprocess.PIPE)
        sender.process.stdin.write(b"one\n")
        sender.process.stdin.flush()
        self.assertEqual(listener.line(), b"one\n")
        sender.signal(signal.SIGINT)
        self.assertEqual(sender.wait(), DONE)
        self.assertIn("ended by a signal after 1 lines", sender.error_text())

    def test_a_signal_while_the_slot_is_away_ends_lines(self):
        """The line that it waits with is sent when the slot comes back; standard input stays open, and ends nothing."""
        listener = self.listen("a", arguments=["--count", "1"])
        sender = self.start("send", "a", "--lines", "--wait", "4294967295", stdin=subprocess.PIPE)
        for line in (b"one\n", b"two\n"):
            sender.process.stdin.write(line)
            sender.process.stdin.flush()
            listener.wait()
        self.until(lambda: fcntl.ioctl(sender.process.stdin, termios.FIONREAD, bytes(4)) == bytes(4), "the line is read")
        self.signal_taken(sender, signal.SIGTERM)
        listener = self.listen("a")
        self.assertEqual(listener.line(), b"two\n")
        self.assertEqual(sender.wait(), DONE)
        self.assertIn("ended by a signal after 2 lines", sender.error_text())

    def test_slot_that_goes_away(self):
        listener = self.listen("a", arguments=["--count", "1"])
        sender = self.start("send", "a", "--lines", stdin=subprocess.PIPE)
        sender.process.stdin.write(b"one\n")
        sender.process.stdin.flush()
        self.assertEqual(listener.wait(), DONE)
        sender.process.stdin.write(b"two\nthree\n")
        sender.process.stdin.flush()
        self.assertEqual(sender.wait(), NO_SLOT)
        self.assertIn("1 lines were sent", sender.error_text())

    def test_slot_that_comes_back(self):
        listener = self.listen("a", arguments=["--count", "1"])
        sender = self.start("send", "a", "--lines", "--wait", str(int(LIMIT * 1000)), stdin=subprocess.PIPE)
        sender.process.stdin.write(b"one\n")
        sender.process.stdin.flush()
        self.assertEqual(listener.wait(), DONE)
        sender.process.stdin.write(b"two\n")
        sender.process.stdin.close()
        self.assertEqual(self.listen("a").line(), b"two\n")
        self.assertEqual(sender.wait(), DONE)

    def test_log(self):
        self.listen("a")
        self.send("a", "--lines", "--log", "log", input=b"one\n\n\xff\n")
        lines = (self.folder / "log").read_text().splitlines()
        self.assertRegex(lines[0], r"^# pid \d+ slot a$")
        expected = [f"{i} {hashlib.sha256(text).hexdigest()} {len(text)}"
                    for i, text in enumerate((b"one", b"", b"\xff"), 1)]
        self.assertEqual(lines[1:], expected)

    def test_log_to_a_full_disk_is_an_error(self):
        self.listen("a")
        self.assertIn("No space left", self.send("a", "text", "--log", "/dev/full", code=ERROR).stderr.decode())

    def test_eight_writers_at_once(self):
        listener = self.listen("a", arguments=["--json", "--count", "8000"])
        senders = [self.start("send", "a", f"from {i}", "--repeat", "1000") for i in range(8)]
        messages = self.messages(listener, 8000)
        for i, sender in enumerate(senders):
            self.assertEqual(sender.wait(), DONE)
            own = [m for m in messages if m["pid"] == sender.pid]
            self.assertEqual([m["sequence"] for m in own], list(range(1, 1001)))
            self.assertEqual({m["text"] for m in own}, {f"from {i}"})
            self.assertEqual(len({m["writer"] for m in own}), 1)
        self.assertEqual(len({m["writer"] for m in messages}), 8)


main("send")
