"""The demo's writers and its check, with a small hub: the check passes, and every damage makes it fail."""

import json
import os
import signal
import subprocess
import sys

from support import DONE, LIMIT, SOURCE, EndToEnd, main

SLOTS = 24


class Demo(EndToEnd):
    def check(self, *arguments):
        return subprocess.run([sys.executable, SOURCE / "scripts" / "demo-check", *arguments, self.folder],
                              capture_output=True, timeout=LIMIT, check=False)

    def run_demo(self):
        (self.folder / "logs").mkdir()
        hub = self.hub("--slots", f"demo-%03d:{SLOTS}", "--output", "hub.jsonl")
        writers = self.start_other(sys.executable, SOURCE / "scripts" / "lib" / "demo-writers", self.program, self.folder,
                                   SLOTS, 2)
        self.assertEqual(writers.wait(), DONE, writers.error_text())
        hub.signal(signal.SIGTERM)
        self.assertEqual(hub.wait(), DONE, hub.error_text())

    def test_check_passes_and_every_damage_makes_it_fail(self):
        self.run_demo()
        result = self.check("--slots", str(SLOTS), "--writers", str(SLOTS), "--prove")
        self.assertEqual(result.returncode, DONE, result.stderr.decode())
        text = result.stdout.decode()
        self.assertIn("exactly once", text)
        self.assertEqual(text.count(": noticed"), 7, text)
        output = self.folder / "hub.jsonl"
        lines = output.read_bytes().splitlines(keepends=True)
        self.assertGreater(len(lines), 100)
        messages = [json.loads(line) for line in lines]
        longest = max((i for i, message in enumerate(messages) if "text" in message), key=lambda i: len(lines[i]))
        last = {message["writer"]: i for i, message in enumerate(messages)}
        # In the middle, or the next one from there down that is not its writer's last.
        middle = next(i for i in range(len(lines) // 2, -1, -1) if last[messages[i]["writer"]] > i)
        message = messages[longest]
        message["text"] = message["text"][:-1]
        foreign = json.loads(lines[middle])
        foreign["pid"] += 100000
        second = next(i for i in range(middle + 1, len(lines)) if messages[i]["writer"] == messages[middle]["writer"])
        swapped = list(lines)
        swapped[middle], swapped[second] = swapped[second], swapped[middle]
        for name, damaged in (("a line deleted", lines[:middle] + lines[middle + 1:]),
                              ("the first line deleted", lines[1:]),
                              ("the last line deleted", lines[:-1]),
                              ("all lines deleted", []),
                              ("a line doubled", lines[:middle] + lines[middle - 1:]),
                              ("two lines exchanged", swapped),
                              ("a message cut", lines[:longest] + [json.dumps(message).encode() + b"\n"] + lines[longest + 1:]),
                              ("a line garbled", lines[:middle] + [b"{}\n"] + lines[middle + 1:]),
                              ("a line that is no JSON", lines + [b"x\n"]),
                              ("no newline at the end", lines[:-1] + [lines[-1][:-1]]),
                              ("a stranger's message", lines + [json.dumps(foreign).encode() + b"\n"])):
            output.write_bytes(b"".join(damaged))
            result = self.check()
            self.assertEqual(result.returncode, 1, name)
            self.assertIn("FAILED", result.stderr.decode(), name)
        output.write_bytes(b"".join(lines))
        self.assertEqual(self.check().returncode, DONE)
        self.assertEqual(self.check("--slots", str(SLOTS + 1)).returncode, 1)
        self.assertEqual(self.check("--writers", str(SLOTS + 1)).returncode, 1)
        log = next((self.folder / "logs").glob("*.log"))
        kept = log.read_bytes()
        for damaged in (b"", kept[kept.index(b"\n") + 1:], b"".join(kept.splitlines(keepends=True)[:-1])):
            log.write_bytes(damaged)
            self.assertEqual(self.check().returncode, 1)
        log.unlink()
        self.assertEqual(self.check().returncode, 1)

    def test_check_without_anything_to_check(self):
        result = self.check()
        self.assertEqual(result.returncode, 1)
        self.assertIn("hub.jsonl", result.stderr.decode())

    def test_writers_end_with_all_that_they_started(self):
        (self.folder / "logs").mkdir()
        hub = self.hub("--slots", f"demo-%03d:{SLOTS}")
        writers = self.start_other(sys.executable, SOURCE / "scripts" / "lib" / "demo-writers", self.program, self.folder,
                                   SLOTS, 1000)
        while b"writer processes" not in (line := writers.line()):
            self.assertIsNotNone(line)
        with open(f"/proc/{writers.pid}/task/{writers.pid}/children", encoding="ascii") as file:
            children = file.read().split()
        self.assertEqual(len(children), SLOTS)
        writers.signal(signal.SIGTERM)
        self.assertEqual(writers.wait(), 1)
        for child in children:
            self.assertFalse(os.path.exists(f"/proc/{child}"), child)
        hub.signal(signal.SIGINT)
        self.assertEqual(hub.wait(), DONE)


main("demo")
