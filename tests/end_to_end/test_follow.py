"""mailroom send --follow: growing files, every way of rotating them, truncation, and a kill at any moment."""

import os
import random
import shutil
import signal
import threading

from support import DONE, ERROR, LIMIT, NO_SLOT, EndToEnd, main


class Follow(EndToEnd):
    def setUp(self):
        super().setUp()
        self.log = self.folder / "app.log"
        self.written = 0

    def append(self, count=1, path=None):
        """Appends numbered lines, each written by one call."""
        with open(path or self.log, "ab", buffering=0) as file:
            for _ in range(count):
                file.write(b"line %d\n" % self.written)
                self.written += 1

    def rotate(self, keep=5):
        """As logrotate does it: app.log.1 becomes app.log.2, and so on, app.log becomes app.log.1."""
        for i in range(keep, 0, -1):
            older = self.folder / f"app.log.{i}"
            if older.exists():
                older.rename(self.folder / f"app.log.{i + 1}")
        self.log.rename(self.folder / "app.log.1")
        self.log.touch()

    def follow(self, *arguments, **options):
        return self.start("send", "a", "--follow", self.log, *arguments, **options)

    def expect(self, listener, first, count):
        for i in range(first, first + count):
            self.assertEqual(listener.line(), b"line %d\n" % i)

    def end(self, follower, code=DONE):
        follower.signal(signal.SIGTERM)
        self.assertEqual(follower.wait(), code, follower.error_text())

    def nothing_more(self, listener):
        """The next thing that arrives is what is sent now."""
        self.send("a", "the end")
        self.assertEqual(listener.line(), b"the end\n")

    def test_what_is_there_and_what_comes(self):
        self.append(10)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 10)
        for i in range(10, 20):
            self.append()
            self.expect(listener, i, 1)
        self.end(follower)
        self.assertIn("20 lines", follower.error_text())
        self.nothing_more(listener)

    def test_from_end(self):
        self.append(10)
        listener = self.listen("a")
        follower = self.follow("--from-end")
        self.until(lambda: self.watches(follower) >= 2, "it watches")
        self.append(5)
        self.expect(listener, 10, 5)
        self.end(follower)

    @staticmethod
    def watches(program):
        """How many inotify watches the process has."""
        count = 0
        folder = f"/proc/{program.pid}/fdinfo"
        for name in os.listdir(folder):
            try:
                with open(f"{folder}/{name}", encoding="ascii") as file:
                    count += sum(line.startswith("inotify") for line in file)
            except FileNotFoundError:
                pass
        return count

    def test_idle_costs_nothing(self):
        self.append(1)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 1)
        switches = [None]
        # What it still has to do after the last line (the state file) is done soon; then nothing happens any more.
        while len(switches) < 2 or switches[-1] != switches[-2]:
            self.assertLess(len(switches), 10, switches)
            threading.Event().wait(1)
            with open(f"/proc/{follower.pid}/status", encoding="ascii") as file:
                switches.append([line for line in file if "voluntary_ctxt" in line][:1])

    def test_a_partial_line_waits_for_its_newline(self):
        listener = self.listen("a")
        self.log.write_bytes(b"")
        follower = self.follow()
        with open(self.log, "ab", buffering=0) as file:
            for part in (b"li", b"ne ", b"0"):
                file.write(part)
            self.nothing_more(listener)
            file.write(b"\nline 1\nrest")
            self.expect(listener, 0, 2)
        self.end(follower)
        self.assertIn("4 bytes at the end", follower.error_text())
        self.nothing_more(listener)

    def test_last_lines_at_sigterm(self):
        listener = self.listen("a", arguments=["--count", "20000"])
        self.append(1)
        follower = self.follow()
        self.expect(listener, 0, 1)
        self.append(19999)
        self.end(follower)
        self.expect(listener, 1, 19999)

    def test_rotation_by_rename(self):
        self.append(5)
        listener = self.listen("a")
        follower = self.follow()
        for round_number in range(10):
            self.expect(listener, round_number * 5, 5)
            self.rotate()
            self.append(5)
        self.expect(listener, 50, 5)
        self.end(follower)
        self.nothing_more(listener)

    def test_quick_rotations(self):
        """Several at once while the program is stopped: it sees only the last state of all names."""
        for names in ("app.log.%d", "elsewhere-%d.old"):
            with self.subTest(names=names):
                for path in self.folder.glob("*.old"):
                    path.unlink()
                for path in [*self.folder.glob("app.log*"), *self.folder.glob("state")]:
                    path.unlink()
                self.written = 0
                self.append(5)
                listener = self.listen("a")
                follower = self.follow()
                self.expect(listener, 0, 5)
                follower.signal(signal.SIGSTOP)
                for i in range(7):
                    if "%d.old" in names:
                        self.log.rename(self.folder / (names % i))
                        self.log.touch()
                    else:
                        self.rotate(20)
                    self.append(5)
                follower.signal(signal.SIGCONT)
                self.expect(listener, 5, 35)
                self.end(follower)
                self.nothing_more(listener)
                listener.signal(signal.SIGTERM)
                listener.wait()

    def test_rotations_in_a_race(self):
        """A writer that rotates as fast as it can: every line, once, in order."""
        total = 4000
        listener = self.listen("a", arguments=["--count", str(total)])
        self.log.touch()
        follower = self.follow()
        self.until(lambda: self.watches(follower) >= 2, "it watches")
        for _ in range(200):
            self.append(total // 200)
            self.rotate(200)
        self.expect(listener, 0, total)
        self.end(follower)

    def test_a_writer_that_keeps_the_old_file_open(self):
        self.append(5)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 5)
        with open(self.log, "ab", buffering=0) as old:
            self.rotate()
            for _ in range(5):
                old.write(b"line %d\n" % self.written)
                self.written += 1
            self.expect(listener, 5, 5)
            self.append(5)
            self.expect(listener, 10, 5)
            old.write(b"line 15\n")
            self.written = 16
            self.expect(listener, 15, 1)
        self.append(1)
        self.expect(listener, 16, 1)
        self.end(follower)
        self.nothing_more(listener)

    def test_the_last_line_of_a_rotated_file(self):
        self.log.write_bytes(b"line 0\nline 1")
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 1)
        self.rotate()
        self.written = 2
        self.append(1)
        self.expect(listener, 1, 2)
        self.end(follower)

    def test_other_files_are_left_alone(self):
        """Compressed ones, older ones, and those of other programs whose names begin the same."""
        (self.folder / "app.log.1").write_bytes(b"older than the program\n")
        self.until(lambda: (self.append(1), os.stat(self.log).st_ctime_ns >
                            os.stat(self.folder / "app.log.1").st_ctime_ns)[1], "another tick")
        lines = self.written
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, lines)
        for name in ("app.log.2.gz", "app.log.txt", "app.log-errors", "app.logbook", "app.lo", "app.log.bak"):
            (self.folder / name).write_bytes(b"not this\n")
        (self.folder / "app.log.3").mkdir()
        self.rotate()
        self.append(1)
        self.expect(listener, lines, 1)
        self.end(follower)
        self.nothing_more(listener)

    def test_rotated_away_for_a_while(self):
        self.append(3)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 3)
        self.log.rename(self.folder / "app.log.1")
        self.append(2, self.folder / "app.log.1")
        self.expect(listener, 3, 2)
        self.append(2)
        self.expect(listener, 5, 2)
        self.end(follower)

    def test_deleted_and_made_anew(self):
        self.append(3)
        listener = self.listen("a")
        follower = self.follow()
        for i in range(1, 20):
            self.expect(listener, 3 * (i - 1), 3)
            self.log.unlink()
            self.append(3)
        self.expect(listener, 57, 3)
        self.end(follower)

    def test_truncation_is_reported_with_its_offset(self):
        self.append(10)
        size = self.log.stat().st_size
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 10)
        shutil.copy(self.log, self.folder / "app.log.1")
        os.truncate(self.log, 0)
        self.assertIn(f"offset {size}", follower.wait_for_error("was truncated"))
        self.append(3)
        self.expect(listener, 10, 3)
        self.end(follower)

    def test_truncation_that_was_overgrown(self):
        self.append(10)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 10)
        follower.signal(signal.SIGSTOP)
        os.truncate(self.log, 0)
        self.append(50)
        follower.signal(signal.SIGCONT)
        follower.wait_for_error("was truncated")
        self.expect(listener, 10, 50)
        self.end(follower)

    def test_truncation_to_the_same_size(self):
        self.append(5)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 5)
        follower.signal(signal.SIGSTOP)
        os.truncate(self.log, 0)
        self.append(5)
        follower.signal(signal.SIGCONT)
        follower.wait_for_error("was truncated")
        self.expect(listener, 5, 5)
        self.end(follower)
        self.nothing_more(listener)

    def test_symbolic_link(self):
        real = self.folder / "elsewhere"
        real.mkdir()
        self.append(3, real / "real.log")
        self.log.symlink_to(real / "real.log")
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 3)
        (real / "real.log").rename(real / "real.log.1")
        self.append(3, real / "real.log")
        self.expect(listener, 3, 3)
        self.end(follower)

    def test_long_lines(self):
        listener = self.listen("a", arguments=["--count", "3"])
        lines = [b"x" * 150000, b"y", b"z" * 65536]
        self.log.write_bytes(b"\n".join(lines) + b"\n")
        follower = self.follow()
        for line in lines:
            self.assertEqual(listener.line(), line + b"\n")
        self.end(follower)


class State(Follow):
    def state(self):
        return (self.folder / "state").read_text().splitlines()

    # The tests above, with a state file kept.
    def follow(self, *arguments, **options):
        return super().follow("--state", "state", *arguments, **options)

    def test_resumes_where_it_ended(self):
        listener = self.listen("a")
        self.append(1)
        sent = 0
        for i in range(6):
            follower = self.follow()
            self.expect(listener, sent, self.written - sent)
            sent = self.written
            self.append(2)
            self.expect(listener, sent, 2)
            sent += 2
            self.end(follower)
            self.append(2)
            if i % 2:
                self.rotate()
                self.append(1)
        self.end(self.ready(self.follow()))
        self.expect(listener, sent, self.written - sent)
        self.nothing_more(listener)

    def test_resumes_with_nothing_new(self):
        self.append(3)
        listener = self.listen("a")
        for i in range(3):
            follower = self.ready(self.follow())
            if i == 0:
                self.expect(listener, 0, 3)
            self.end(follower)
        self.nothing_more(listener)

    def ready(self, follower):
        self.until(lambda: self.watches(follower) >= 2, "it watches")
        return follower

    def test_resumes_behind_a_partial_line(self):
        self.log.write_bytes(b"line 0\nli")
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 1)
        self.end(follower)
        with open(self.log, "ab") as file:
            file.write(b"ne 1\n")
        follower = self.follow()
        self.expect(listener, 1, 1)
        self.end(follower)

    def test_rotations_while_it_was_away(self):
        self.append(5)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 5)
        self.end(follower)
        for _ in range(4):
            self.append(3)
            self.rotate()
        self.append(1)
        follower = self.follow()
        self.expect(listener, 5, 13)
        self.end(follower)
        self.nothing_more(listener)

    def test_truncation_while_it_was_away(self):
        self.append(5)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 5)
        self.end(follower)
        os.truncate(self.log, 0)
        self.append(40)
        follower = self.follow()
        follower.wait_for_error("was truncated")
        self.expect(listener, 5, 40)
        self.end(follower)

    def test_copied_and_truncated_while_it_was_away(self):
        self.append(5)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 5)
        self.end(follower)
        shutil.copy(self.log, self.folder / "app.log.1")
        os.truncate(self.log, 0)
        self.append(2)
        follower = self.follow()
        follower.wait_for_error("was truncated")
        self.expect(listener, 5, 2)
        self.end(follower)
        self.nothing_more(listener)

    def test_a_file_that_is_gone(self):
        self.append(5)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 0, 5)
        self.end(follower)
        self.append(5)
        self.log.unlink()
        self.append(2)
        follower = self.follow()
        self.assertIn("offset 35", follower.wait_for_error("is gone"))
        self.expect(listener, 10, 2)
        self.end(follower, ERROR)

    def test_state_files_that_cannot_be_used(self):
        self.append(3)
        self.listen("a")
        self.end(self.started())
        good = (self.folder / "state").read_bytes()
        for bad, why in ((b"", "no state file"), (b"something else\n", "no state file"), (good[:-4], "damaged"),
                         (good + b"x", "damaged"), (good.replace(b"file ", b"file -"), "damaged"), (good.replace(b"floor ", b"floor -"), "damaged"),
                         (good.replace(b"\nend", b"\nfile 1 2\nend"), "damaged"),
                         (good.replace(b"app.log", b"other.log"), "another file"), (good + b"\0", "damaged")):
            (self.folder / "state").write_bytes(bad)
            result = self.send("a", "--follow", self.log, "--state", "state", code=ERROR)
            self.assertIn(why, result.stderr.decode(), bad)
        result = self.send("a", "--follow", self.log, "--state", "no folder/state", code=ERROR)
        self.assertIn("no folder/state", result.stderr.decode())

    def started(self):
        follower = self.follow()
        self.until(lambda: (self.folder / "state").exists(), "a state file")
        return follower

    def test_slot_that_goes_away_keeps_the_offset(self):
        self.append(3)
        listener = self.listen("a", arguments=["--count", "3"])
        follower = self.follow()
        self.expect(listener, 0, 3)
        listener.wait()
        self.append(3)
        self.assertEqual(follower.wait(), NO_SLOT)
        listener = self.listen("a")
        follower = self.follow()
        self.expect(listener, 3, 3)
        self.end(follower)

    def test_a_signal_while_the_slot_is_away(self):
        """The line that it waits with is sent when the slot comes, and then it ends: nothing else has to happen."""
        self.append(1)
        follower = self.ready(super().follow("--wait", "4294967295"))
        self.signal_taken(follower, signal.SIGTERM)
        listener = self.listen("a")
        self.expect(listener, 0, 1)
        self.assertEqual(follower.wait(), DONE, follower.error_text())

    def test_killed_at_random_moments(self):
        """Lines are written and rotated without a pause while the program is killed again and again: none is missing,
        and what comes twice was sent shortly before a kill."""
        seed = int(os.environ.get("MR_TEST_SEED", "1"), 0)
        chance = random.Random(seed)
        least, kills_wanted = 20000, 6
        kills = 0
        listener = self.listen("a", arguments=["--json"])
        self.log.touch()

        def write():
            pause = threading.Event()
            while self.written < least or kills < kills_wanted:
                self.append(100)
                if self.written % 2000 == 0:
                    self.rotate(50)
                pause.wait(0.005)

        first = self.follow()
        self.until(lambda: (self.folder / "state").exists(), "the state is kept")  # before it, nothing is promised
        first.signal(signal.SIGKILL)
        first.wait()
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        kills += 1
        while writer.is_alive():
            follower = self.follow("--wait", "5000")
            writer.join(chance.uniform(0.0, 0.12))
            follower.signal(signal.SIGKILL)
            follower.wait()
            kills += 1
        self.end(self.ready(self.follow()))
        self.nothing_more_json(listener, self.written, kills, seed)

    def nothing_more_json(self, listener, total, kills, seed):
        self.send("a", "the end")
        got = []
        by_writer = {}  # of different writers' messages the reader takes turns; only each one's own are in order
        while (message := self.messages(listener, 1)[0])["text"] != "the end":
            number = int(message["text"].split()[1])
            got.append(number)
            by_writer.setdefault(message["writer"], []).append(number)
        missing = sorted(set(range(total)) - set(got))
        self.assertEqual(len(missing), 0, f"seed {seed}: after {kills} kills these are missing: {missing[:10]} …")
        self.assertLessEqual(len(by_writer), kills + 1, f"seed {seed}")
        for numbers in by_writer.values():
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))), f"seed {seed}: out of order")
        print(f"    {total} lines, {kills} kills, {len(got) - total} repeated", flush=True)


main("follow")
