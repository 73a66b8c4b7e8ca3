"""Listeners and senders that are killed (SIGKILL) and started again, over and over, while many lines are sent:
together the listeners' outputs hold every line. What a killed listener had half written is cut off at its file's end;
that line comes again."""

import fcntl
import json
import os
import random
import signal
import subprocess
import threading
import time

from support import DONE, LIMIT, EndToEnd, main

CAMPAIGN = os.environ.get("MR_TEST_CAMPAIGN") == "1"
ROUNDS = int(os.environ.get("MR_TEST_DEATHS", "8"))


class Deaths(EndToEnd):
    def setUp(self):
        super().setUp()
        self.outputs = []
        self.listener = None
        self.sent = []

    def listener_start(self, *arguments):
        """One more listener, its output in a file of its own."""
        path = self.folder / f"output.{len(self.outputs)}"
        self.outputs.append(path)
        with open(path, "wb") as file:
            self.listener = self.listen("a", arguments=arguments, stdout=file)

    def listener_kill(self):
        self.listener.signal(signal.SIGKILL)
        self.assertEqual(self.listener.wait(), -signal.SIGKILL, self.listener.error_text())

    def lines(self):
        """For each listener its whole lines."""
        found = []
        for path in self.outputs:
            found.append(path.read_bytes().split(b"\n")[:-1])
        return found

    def check_numbers(self, outputs, count):
        """Every number from 1 on is there, and each listener had them in order. Returns how many came again."""
        seen = bytearray(count + 1)
        total = 0
        for numbers in outputs:
            for before, after in zip(numbers, numbers[1:]):
                self.assertLess(before, after)
            for number in numbers:
                seen[number] = 1
            total += len(numbers)
        missing = [number for number in range(1, count + 1) if not seen[number]]
        self.assertEqual(missing[:10], [], f"{len(missing)} of {count} lines are missing")
        return total - count

    def sender_start(self, count):
        """seq | mailroom send --lines"""
        with subprocess.Popen(["seq", str(count)], stdout=subprocess.PIPE) as source:
            sender = self.start("send", "a", "--lines", "--wait", "60000", stdin=source.stdout)
            source.stdout.close()
            sender.wait(20 * LIMIT)
        return sender

    def numbers_to_mortals(self, count, kills, *arguments):
        """seq | mailroom send --lines, to listeners of which each is killed when it has printed some lines: that many
        that the next one has some left to print. The last one stays until all are sent."""
        chance = random.Random(os.environ.get("MR_TEST_SEED", "deaths"))
        sender = threading.Thread(target=lambda: self.sent.append(self.sender_start(count)))
        sender.start()
        for _ in range(kills):
            self.listener_until(chance.randrange(1, count // (2 * kills)), *arguments)
        self.listener_start(*arguments)
        sender.join()
        self.assertEqual(self.sent[0].wait(), DONE, self.sent[0].error_text())
        self.listener_kill()  # everything is acknowledged, and so written

    def listener_until(self, count, *arguments):
        """One more listener, killed when it has printed `count` lines. Its pipe is small, so it cannot be far ahead."""
        source, sink = os.pipe()
        fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, 4096)
        path = self.folder / f"output.{len(self.outputs)}"
        self.outputs.append(path)
        with open(source, "rb", buffering=0) as printed, open(path, "wb") as file:
            with open(sink, "wb") as end:
                self.listener = self.listen("a", arguments=arguments, stdout=end)
            while count > 0:
                some = printed.read(4096)
                self.assertNotEqual(some, b"", "the listener ended by itself")
                file.write(some)
                count -= some.count(b"\n")
            self.listener_kill()
            file.write(printed.read())

    def test_every_line_though_the_listener_is_killed_every_300_ms(self):
        count = 3000000 if CAMPAIGN else 300000
        kills = 0
        sender = threading.Thread(target=lambda: self.sent.append(self.sender_start(count)))
        self.listener_start()
        sender.start()
        while True:
            sender.join(0.3)  # how often is the scenario's, and no wait for anything
            if not sender.is_alive():
                break
            self.listener_kill()
            kills += 1
            self.listener_start()
        self.assertEqual(self.sent[0].wait(), DONE, self.sent[0].error_text())
        self.listener_kill()
        repeated = self.check_numbers([[int(line) for line in lines] for lines in self.lines()], count)
        print(f"{count} lines, the listener killed {kills} times after 300 ms: 0 missing, {repeated} again")

    def test_every_line_though_many_listeners_are_killed(self):
        count, kills = (1000000, 100) if CAMPAIGN else (100000, ROUNDS)
        self.numbers_to_mortals(count, kills)
        repeated = self.check_numbers([[int(line) for line in lines] for lines in self.lines()], count)
        print(f"{count} lines, {kills} listeners killed: 0 missing, {repeated} again")

    def test_a_line_that_comes_again_is_flagged(self):
        count, kills = (500000, 100) if CAMPAIGN else (100000, ROUNDS)
        self.numbers_to_mortals(count, kills, "--json")
        seen = set()
        outputs = []
        flagged = 0
        for lines in self.lines():
            messages = [json.loads(line) for line in lines]
            outputs.append([int(message["text"]) for message in messages])
            for message in messages:
                flagged += message["redelivered"]
                self.assertTrue(message["redelivered"] or message["text"] not in seen, message)
                self.assertEqual(message["sequence"], int(message["text"]))
                seen.add(message["text"])
        repeated = self.check_numbers(outputs, count)
        print(f"{count} lines, {kills} listeners killed: 0 missing, {flagged} flagged, {repeated} again")

    def test_every_line_of_a_file_though_both_ends_are_killed(self):
        count = 300000 if CAMPAIGN else 100000
        rounds = 200 if CAMPAIGN else ROUNDS
        chance = random.Random(os.environ.get("MR_TEST_SEED", "deaths"))
        log = self.folder / "numbers"
        with open(log, "wb") as file:
            subprocess.run(["seq", str(count)], stdout=file, check=True, timeout=LIMIT)
        arguments = ("send", "a", "--follow", log, "--state", self.folder / "state", "--wait", "60000")
        self.listener_start()
        sender = self.start(*arguments)
        for _ in range(rounds):
            time.sleep(chance.uniform(0.001, 0.03))  # which instant is the point
            if chance.random() < 0.5:
                self.listener_kill()
                self.listener_start()
            else:
                sender.signal(signal.SIGKILL)
                sender.wait()
                sender = self.start(*arguments)
        self.until(lambda: self.catches(sender, signal.SIGTERM), "the sender has begun")
        sender.signal(signal.SIGTERM)  # what is in the file is still sent
        self.assertEqual(sender.wait(20 * LIMIT), DONE, sender.error_text())
        self.listener_kill()
        seen = {int(line) for lines in self.lines() for line in lines}
        self.assertEqual(len(seen), count)
        self.assertEqual(max(seen), count)
        total = sum(map(len, self.lines()))
        print(f"{count} lines of a file, {rounds} kills of either end: 0 missing, {total - count} again")


main("deaths")
