"""What the end-to-end tests share: running the programs, waiting for events instead of time, one line per test.

A test file holds classes derived from EndToEnd and ends with main("suite"). Programs are found in the folder that
the environment variable MAILROOM_PROGRAMS names. Each test has a slot directory and a work folder of its own; whatever
it started is ended by its process id. Time limits are guards against hangs and are multiplied by
MR_TEST_TIME_FACTOR."""

import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import unittest

PROGRAMS = pathlib.Path(os.environ.get("MAILROOM_PROGRAMS", "build/dev/bin")).resolve()
SOURCE = pathlib.Path(__file__).resolve().parents[2]
TIME = float(os.environ.get("MR_TEST_TIME_FACTOR", "1"))
LIMIT = 30 * TIME

DONE, ERROR, USAGE, TIMEOUT, NO_SLOT, NOT_ALLOWED = range(6)


class Program:
    """A running program whose output comes line by line."""

    def __init__(self, test, arguments, stdin=None, stdout=None, **options):
        self.arguments = [str(a) for a in arguments]
        self.process = subprocess.Popen(self.arguments, stdin=stdin if stdin is not None else subprocess.DEVNULL,
                                        stdout=stdout if stdout is not None else subprocess.PIPE,
                                        stderr=subprocess.PIPE, **options)
        self.pid = self.process.pid
        self.errors = []
        self._out, self._err = queue.Queue(), queue.Queue()
        self._threads = []
        for stream, lines in ((self.process.stdout, self._out), (self.process.stderr, self._err)):
            if stream is not None:
                thread = threading.Thread(target=self._pump, args=(stream, lines), daemon=True)
                thread.start()
                self._threads.append(thread)
        test.addCleanup(self.end)

    @staticmethod
    def _pump(stream, lines):
        for line in stream:
            lines.put(line)
        lines.put(None)

    def _next(self, lines, limit):
        try:
            line = lines.get(timeout=limit)
        except queue.Empty:
            raise AssertionError(f"no line came within {limit} s from {self.arguments}; "
                                 f"it said: {self.error_text()}") from None
        if line is None:
            lines.put(None)
        return line

    def line(self, limit=LIMIT):
        """The next line of standard output as bytes, or None at its end."""
        return self._next(self._out, limit)

    def error_line(self, limit=LIMIT):
        line = self._next(self._err, limit)
        if line is not None:
            self.errors.append(line.decode(errors="replace"))
        return line

    def wait_for_error(self, part, limit=LIMIT):
        """Reads standard error up to a line that contains `part`."""
        while True:
            line = self.error_line(limit)
            if line is None:
                raise AssertionError(f"{self.arguments} ended without saying '{part}': {''.join(self.errors)}")
            if part in line.decode(errors="replace"):
                return line.decode(errors="replace")

    def error_text(self):
        """All of standard error that has come so far."""
        while True:
            try:
                line = self._err.get_nowait()
            except queue.Empty:
                break
            if line is None:
                self._err.put(None)
                break
            self.errors.append(line.decode(errors="replace"))
        return "".join(self.errors)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, limit=LIMIT):
        """Its exit code."""
        code = self.process.wait(limit)
        for thread in self._threads:
            thread.join(limit)
        return code

    def rest(self):
        """What is left of standard output, after the end."""
        lines = []
        while (line := self.line()) is not None:
            lines.append(line)
        return lines

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for thread in self._threads:
            thread.join(5)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass


class EndToEnd(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mailroom-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.slots = self.folder / "slots"
        self.slots.mkdir(mode=0o700)
        self.environment = dict(os.environ, MAILROOM_DIR=str(self.slots), LC_ALL="C.UTF-8", TERM="dumb")
        self.program = PROGRAMS / "mailroom"

    def start(self, *arguments, **options):
        """Starts mailroom with these arguments."""
        options.setdefault("env", self.environment)
        options.setdefault("cwd", self.folder)
        return Program(self, [self.program, *arguments], **options)

    def start_other(self, *arguments, **options):
        options.setdefault("env", self.environment)
        options.setdefault("cwd", self.folder)
        return Program(self, arguments, **options)

    def run_mailroom(self, *arguments, code=DONE, **options):
        """Runs it to its end and checks its exit code."""
        options.setdefault("env", self.environment)
        options.setdefault("cwd", self.folder)
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        result = subprocess.run([self.program, *(a if isinstance(a, bytes) else str(a) for a in arguments)], capture_output=True, timeout=LIMIT,
                                check=False, **options)
        if code is not None:
            self.assertEqual(result.returncode, code, f"mailroom {arguments}: {result.stderr.decode(errors='replace')}")
        return result

    def listen(self, *names, **options):
        """Starts mailroom listen and returns when its slots are open."""
        arguments = options.pop("arguments", [])
        program = self.start("listen", *arguments, *names, **options)
        for name in names:
            program.wait_for_error("listening on ")
        return program

    def hub(self, *arguments, **options):
        program = self.start("hub", *arguments, **options)
        program.wait_for_error("slots are open")
        return program

    def send(self, *arguments, **options):
        return self.run_mailroom("send", *arguments, **options)

    def path(self, name):
        return self.run_mailroom("path", name).stdout.decode().rstrip("\n")

    def connect(self, name):
        """A plain connection, as any program can make it."""
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(plain.close)
        plain.settimeout(LIMIT)
        plain.connect(self.path(name))
        return plain

    def list(self):
        result = self.run_mailroom("list", "--json")
        return {entry["slot"]: entry for entry in map(json.loads, result.stdout.decode().splitlines())}

    def messages(self, program, count):
        """The next `count` lines of a listener with --json, as objects."""
        return [json.loads(program.line()) for _ in range(count)]

    @staticmethod
    def catches(program, number):
        """Whether the process has a handler for the signal. Without one it would die of it: it has only just begun."""
        with open(f"/proc/{program.pid}/status", encoding="ascii") as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))
        return caught >> (number - 1) & 1 == 1

    def signal_taken(self, program, number):
        """Sends a signal, and returns when the program's first eventfd, by which its handler wakes it, is read."""
        def taken():
            with open(f"/proc/{program.pid}/status", encoding="ascii") as file:
                if any(int(line.split()[1], 16) != 0 for line in file if line.startswith(("SigPnd", "ShdPnd"))):
                    return False
            for descriptor in sorted(map(int, os.listdir(f"/proc/{program.pid}/fdinfo"))):
                with open(f"/proc/{program.pid}/fdinfo/{descriptor}", encoding="ascii") as file:
                    for line in file:
                        if line.startswith("eventfd-count:"):
                            return int(line.split()[1], 16) == 0
            self.fail("the program has no eventfd")
        program.signal(number)
        self.until(taken, "the signal is taken")

    def until(self, condition, what):
        """For what no event tells: looks until `condition` holds."""
        end = time.monotonic() + LIMIT
        while not (result := condition()):
            self.assertLess(time.monotonic(), end, f"{what}: not within {LIMIT} s")
            time.sleep(0.01)
        return result


class Result(unittest.TestResult):
    """The reporting lines of the C tests."""

    def __init__(self, suite):
        super().__init__()
        self.suite = suite
        self.passed = self.failed = self.skipped_count = 0

    def _line(self, kind, test, detail=""):
        name = test.id().split(".", 2)[-1]
        print(f"[{kind}] {self.suite}::{name}{detail}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self._line("PASS", test)

    def _broken(self, test, error):
        self.failed += 1
        print("".join(traceback.format_exception(*error)), flush=True)
        self._line("FAIL", test, f": {error[1]}".splitlines()[0])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._broken(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._broken(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._broken(subtest, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.skipped_count += 1
        self._line("SKIP", test, f": {reason}")


def main(suite):
    if not (PROGRAMS / "mailroom").exists():
        sys.exit(f"{PROGRAMS}/mailroom is not there; set MAILROOM_PROGRAMS to the folder of the programs")
    module = sys.modules["__main__"]
    tests = unittest.defaultTestLoader.loadTestsFromModule(module)
    if len(sys.argv) > 1:
        chosen = unittest.TestSuite()
        for group in tests:
            for test in group:
                if any(word in test.id() for word in sys.argv[1:]):
                    chosen.addTest(test)
        tests = chosen
    result = Result(suite)
    tests.run(result)
    print(f"[====] Synthesis: Tested: {result.passed + result.failed} | Passing: {result.passed} | "
          f"Failing: {result.failed} | Crashing: 0", flush=True)
    print(f"{suite}: {result.passed} of {result.passed + result.failed} tests passed, {result.failed} failed, "
          f"{result.skipped_count} skipped", flush=True)
    sys.exit(0 if result.failed == 0 and result.testsRun > 0 else 1)
