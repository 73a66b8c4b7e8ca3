"""Every example is run, as its head says."""

import os
import subprocess

from support import DONE, LIMIT, PROGRAMS, SOURCE, EndToEnd, main


class Examples(EndToEnd):
    def setUp(self):
        super().setUp()
        self.environment["PATH"] = f"{PROGRAMS}{os.pathsep}{self.environment['PATH']}"

    def test_reader_and_writer(self):
        reader = self.start_other(PROGRAMS / "example_reader", stdin=subprocess.PIPE)
        self.until(lambda: "alarms" in self.list(), "the slot")
        writer = self.start_other(PROGRAMS / "example_writer", "door open", "door closed")
        self.assertEqual(writer.wait(), DONE, writer.error_text())
        lines = [reader.line().decode() for _ in range(3)]
        said = [f"{writer.pid} says {text}\n" for text in ("door open", "door closed", "fire")]
        self.assertEqual(sorted(lines), sorted(said))
        self.assertLess(lines.index(said[0]), lines.index(said[1]))  # the urgent one comes when it comes
        reader.process.stdin.close()
        self.assertEqual(reader.wait(), DONE, reader.error_text())
        self.assertEqual(self.list(), {})

    def test_writer_without_a_reader(self):
        writer = self.start_other(PROGRAMS / "example_writer", "door open")
        self.assertEqual(writer.wait(), 1)
        self.assertIn("no such slot", writer.error_text())

    def test_poll_loop(self):
        loop = self.start_other(PROGRAMS / "example_poll_loop", "a", stdin=subprocess.PIPE)
        self.until(lambda: "a" in self.list(), "the slot")
        for size in (3, 0, 100000, 5):
            self.send("a", "--stdin", input=b"x" * size)
            self.assertEqual(loop.line(), b"%d bytes: %s\n" % (size, b"x" * size))
        loop.process.stdin.close()
        self.assertEqual(loop.wait(), DONE, loop.error_text())

    def test_plain_client_in_python(self):
        listener = self.listen("a")
        client = self.start_other(SOURCE / "examples" / "plain_client.py", "a", "one", "", "three")
        self.assertEqual(client.wait(), DONE, client.error_text())
        self.assertEqual([listener.line() for _ in range(3)], [b"one\n", b"\n", b"three\n"])

    def test_plain_client_with_socat(self):
        listener = self.listen("a")
        subprocess.run([SOURCE / "examples" / "plain_client.sh", "a"], input=b"door open", check=True, timeout=LIMIT,
                       env=self.environment)
        self.assertEqual(listener.line(), b"door open\n")

    def test_the_readme_shows_the_reader_as_it_is(self):
        shown = (SOURCE / "README.md").read_text().split("```c\n")[1].split("```")[0]
        example = (SOURCE / "examples/reader.c").read_text()
        self.assertEqual(shown, example[example.index("#include") :])

    def test_every_example_is_tested(self):
        examples = {path.name for path in (SOURCE / "examples").iterdir()} - {"CMakeLists.txt"}
        self.assertEqual(examples, {"reader.c", "writer.c", "poll_loop.c", "plain_client.py", "plain_client.sh"})


main("examples")
