"""mailroom hub: many slots in one process."""

import fcntl
import json
import os
import pty
import resource
import signal
import struct
import subprocess
import termios
import threading

from support import DONE, ERROR, LIMIT, TIME, TIMEOUT, EndToEnd, main


class Hub(EndToEnd):
    def output(self, name="out"):
        return [json.loads(line) for line in (self.folder / name).read_bytes().splitlines()]

    def stop(self, hub, code=DONE):
        hub.signal(signal.SIGTERM)
        self.assertEqual(hub.wait(), code, hub.error_text())

    def test_names_from_a_pattern(self):
        hub = self.hub("--slots", "s-%03d:12", "--slots", "100%%", "--slots", "a:b", "--slots", "%d/x:2", "--slots", "w%4d|:1")
        self.assertEqual(set(self.list()), {f"s-{i:03}" for i in range(12)} | {"100%", "a:b", "0\\x", "1\\x", "w   0|"})
        self.stop(hub)
        self.assertEqual(self.list(), {})

    def test_every_message_once_and_in_order(self):
        hub = self.hub("--slots", "s-%d:20", "--output", "out", "--json")
        senders = [self.start("send", f"s-{i % 20}", "--lines", "--log", f"log-{i}", stdin=subprocess.PIPE) for i in range(40)]
        for i, sender in enumerate(senders):
            sender.process.stdin.write(b"".join(b"%d/%d %s\n" % (i, n, b"x" * (n % 50)) for n in range(500)))
            sender.process.stdin.close()
        for sender in senders:
            self.assertEqual(sender.wait(), DONE, sender.error_text())
        self.stop(hub)
        messages = self.output()
        self.assertEqual(len(messages), 40 * 500)
        for i, sender in enumerate(senders):
            own = [m for m in messages if m["pid"] == sender.pid]
            self.assertEqual([m["sequence"] for m in own], list(range(1, 501)))
            self.assertEqual([m["text"].split()[0] for m in own], [f"{i}/{n}" for n in range(500)])
            self.assertEqual({m["slot"] for m in own}, {f"s-{i % 20}"})
        summary = json.loads(hub.rest()[-1])
        self.assertEqual((summary["type"], summary["slots"], summary["messages"], summary["unread"], summary["unwritten"]),
                         ("summary", 20, 20000, 0, 0))

    def test_summary_in_words(self):
        hub = self.hub("--slots", "a")
        for _ in range(3):
            self.send("a", "text")
        self.stop(hub)
        last = hub.rest()[-1].decode()
        self.assertIn("1 slots", last)
        self.assertIn("3 messages", last)
        self.assertIn("0 dropped", last)

    def test_output_is_written_at_once(self):
        hub = self.hub("--slots", "a", "--output", "-")
        self.send("a", "text")
        self.assertEqual(self.messages(hub, 1)[0]["text"], "text")
        self.stop(hub)
        self.assertEqual(hub.rest(), [])
        self.assertIn("1 messages", hub.error_text())

    def test_seconds(self):
        # It waits for the slot, so that its own beginning takes nothing of the hub's time.
        sender = self.start("send", "a", "text", "--wait", str(int(1000 * LIMIT)))
        self.until(lambda: self.catches(sender, signal.SIGTERM), "the sender has begun")
        hub = self.hub("--slots", "a", "--seconds", "2", "--json")
        self.assertEqual(sender.wait(), DONE, sender.error_text())
        self.assertEqual(hub.wait(), DONE)
        lines = [json.loads(line) for line in hub.rest()]
        self.assertEqual([line["type"] for line in lines][-1], "summary")
        self.assertIn("progress", [line["type"] for line in lines])
        self.assertGreaterEqual(lines[-1]["seconds"], 2)
        self.assertEqual(lines[-1]["messages"], 1)

    def test_full_disk(self):
        hub = self.hub("--slots", "a", "--output", "/dev/full")
        self.connect("a").send(b"lost")
        self.assertEqual(hub.wait(), ERROR)
        self.assertIn("No space left", hub.error_text())
        self.assertIn("1 messages were received but not written", hub.error_text())
        self.assertIn("1 not written", hub.rest()[-1].decode())

    def test_what_one_could_not_write_the_next_one_gets(self):
        hub = self.hub("--slots", "a", "--output", "/dev/full")
        sender = self.start("send", "a", "kept", "--wait", str(int(1000 * LIMIT)))
        self.assertEqual(hub.wait(), ERROR)
        self.assertNotIn("not written", hub.error_text())  # the sender has it still
        self.assertIsNone(sender.process.poll())
        hub = self.hub("--slots", "a", "--output", "out")
        self.assertEqual(sender.wait(), DONE, sender.error_text())
        self.stop(hub)
        self.assertEqual([message["text"] for message in self.output()], ["kept"])

    def test_a_disk_that_fills_up_in_the_middle_of_a_write(self):
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        hub = self.hub("--slots", "a", "--output", "out", "--json", preexec_fn=limited)
        hub.signal(signal.SIGSTOP)
        plain = self.connect("a")
        plain.setblocking(True)  # with a time-out it would wait for three quarters of its buffer to be free
        for _ in range(80):  # more than fits, and one batch
            plain.send(b"text" * 25)
        hub.signal(signal.SIGCONT)
        self.assertEqual(hub.wait(), ERROR)
        whole = (self.folder / "out").read_bytes().count(b"\n")
        self.assertGreater(whole, 10)
        summary = json.loads(hub.rest()[-1])
        self.assertEqual(summary["messages"], whole)
        self.assertEqual(summary["unwritten"] + summary["unread"], 80 - whole)
        self.assertIn(f"{summary['unwritten']} messages were received but not written", hub.error_text())

    def test_head_ends_it_quietly(self):
        shell = f'"{self.program}" hub --slots a --output - 2>/dev/null | head -1; echo "${{PIPESTATUS[0]}}"'
        pipeline = self.start_other("bash", "-c", shell)
        self.send("a", "one", "--wait", str(int(1000 * LIMIT)))
        self.assertEqual(json.loads(pipeline.line())["text"], "one")
        self.assertEqual(pipeline.line(), b"0\n")

    def test_nobody_reads_the_progress(self):
        reading, writing = os.pipe()
        hub = self.hub("--slots", "a", "--output", "out", stdout=writing)
        os.close(writing)
        os.close(reading)
        self.send("a", "one")
        self.until(lambda: [m["text"] for m in self.output()] == ["one"], "the line")
        self.stop(hub)

    def test_live_table_on_a_terminal(self):
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 60, 0, 0))
        self.environment["TERM"] = "xterm"
        sender = self.start("send", "s-07", "text", "--repeat", "100", "--wait", str(int(1000 * LIMIT)))
        self.until(lambda: self.catches(sender, signal.SIGTERM), "the sender has begun")
        hub = self.hub("--slots", "s-%02d:50", "--seconds", "3", stdout=follower)
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        self.assertEqual(hub.wait(), DONE)
        self.assertEqual(sender.wait(), DONE, sender.error_text())
        os.close(leader)
        text = shown.decode().replace("\r\n", "\n")
        frames = text.split("\x1b[9A")  # the table is 9 lines high, and drawn again over itself
        self.assertGreaterEqual(len(frames), 2, text)
        first = frames[0].replace("\x1b[K", "").splitlines()
        self.assertIn("50 slots", first[0])
        self.assertIn("messages/s", first[1])
        self.assertIn("0 dropped", first[2])
        self.assertIn("per s", first[3])
        self.assertLessEqual(max(map(len, first)), 60)
        self.assertRegex(text, r"s-07 +\d+ +100 ")
        self.assertRegex(text.splitlines()[-1], r"50 slots, \d+\.\d s")

    def test_a_taken_name_ends_it(self):
        self.listen("s-3")
        result = self.run_mailroom("hub", "--slots", "s-%d:5", code=ERROR)
        self.assertIn("s-3", result.stderr.decode())
        self.assertEqual(set(self.list()), {"s-3"})

    def test_what_was_sent_before_the_end_is_written(self):
        hub = self.hub("--slots", "a", "--output", "out")
        # It is asked to end before it has seen any of them.
        hub.signal(signal.SIGSTOP)
        self.send("a", "--lines", "--wait", "200", input=b"line\n" * 50, code=TIMEOUT)
        hub.signal(signal.SIGTERM)
        hub.signal(signal.SIGCONT)
        self.assertEqual(hub.wait(), DONE, hub.error_text())
        self.assertEqual(len(self.output()), 50)

    def test_raises_its_limit_of_descriptors(self):
        shell = f'ulimit -Sn 64; exec "{self.program}" hub --slots s-%d:200'
        hub = self.start_other("bash", "-c", shell)
        hub.wait_for_error("200 slots are open")
        self.assertEqual(len(self.list()), 200)
        hub.signal(signal.SIGTERM)
        self.assertEqual(hub.wait(LIMIT), DONE)

    def test_says_what_the_limit_of_descriptors_forbids(self):
        shell = f'ulimit -n 64; exec "{self.program}" hub --slots s-%d:200'
        hub = self.start_other("bash", "-c", shell)
        self.assertEqual(hub.wait(), ERROR)
        self.assertIn("ulimit -n", hub.error_text())
        self.assertIn("MR_E_DESCRIPTORS", hub.error_text())
        self.assertEqual(self.list(), {})

    def test_slow_output_holds_up_the_writers(self):
        """Nobody reads the hub's output: it takes no more than its bound, and loses nothing."""
        reading, writing = os.pipe()
        hub = self.hub("--slots", "a", "--output", "-", "--json", stdout=writing)
        os.close(writing)
        sender = self.start("send", "a", "x" * 10000, "--repeat", "20000", "--wait", "4294967295")
        # Its memory stops growing long before the 200 MB of all messages. A sanitizer takes a multiple of each byte.
        with self.assertRaises(subprocess.TimeoutExpired):
            sender.process.wait(2)
        with open(f"/proc/{hub.pid}/status", encoding="ascii") as file:
            resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        self.assertLess(resident, 150000 * min(TIME, 4))
        guard = threading.Timer(LIMIT, hub.process.kill)
        guard.start()
        self.addCleanup(guard.cancel)
        with os.fdopen(reading, "rb") as stream:
            for i in range(20000):
                message = json.loads(stream.readline())
                self.assertEqual((message["sequence"], message["length"]), (i + 1, 10000))
            self.assertEqual(sender.wait(), DONE)
            hub.signal(signal.SIGTERM)
            self.assertEqual(hub.wait(), DONE)


main("hub")
