"""Who holds a name, who takes it over, and what list tells of it."""

import os
import signal
import subprocess

from support import DONE, ERROR, LIMIT, PROGRAMS, EndToEnd, main


class Names(EndToEnd):
    def test_a_taken_name_says_who_holds_it(self):
        first = self.listen("a")
        second = self.run_mailroom("listen", "A", code=ERROR)
        self.assertIn(str(first.pid), second.stderr.decode())
        self.assertEqual(second.stdout, b"")
        self.send("a", "still the first's")
        self.assertEqual(first.line(), b"still the first's\n")

    def test_a_killed_holder_leaves_nothing_behind(self):
        for i in range(20):
            first = self.listen("a")
            first.signal(signal.SIGKILL)
            first.wait()
            second = self.listen("a")
            self.send("a", f"round {i}")
            self.assertEqual(second.line(), b"round %d\n" % i)
            second.signal(signal.SIGTERM)
            second.wait()

    def test_a_forked_child_of_a_killed_holder_holds_nothing(self):
        holder = self.start_other(PROGRAMS.parent / "tests" / "fork_holder", "a")
        child = int(holder.line())
        try:
            self.assertIn(str(holder.pid), self.run_mailroom("listen", "a", code=ERROR).stderr.decode())
            holder.signal(signal.SIGKILL)
            holder.process.wait(LIMIT)
            os.kill(child, 0)  # it is alive
            listener = self.listen("a")
            self.send("a", "to the new one")
            self.assertEqual(listener.line(), b"to the new one\n")
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)

    def test_half_of_the_names_taken(self):
        self.listen("b")
        self.run_mailroom("listen", "a", "b", code=ERROR)
        self.assertEqual(set(self.list()), {"b"})
        self.run_mailroom("hub", "--slots", "a", "--slots", "b", code=ERROR)
        self.assertEqual(set(self.list()), {"b"})
        self.run_mailroom("listen", "c", "C", code=ERROR)
        self.assertEqual(set(self.list()), {"b"})

    def test_list_table(self):
        header = self.run_mailroom("list").stdout.decode()
        self.assertEqual(header.split(), ["NAME", "PID", "USER", "WAITING", "NEXT", "CONNECTIONS", "MESSAGES", "DROPPED", "PEAK"])
        listener = self.listen("Front Door", "a")
        self.send("a", "text")
        self.assertEqual(listener.line(), b"a: text\n")
        self.until(lambda: self.list()["a"]["messages"] == 1, "the page tells of the message")
        lines = self.run_mailroom("list").stdout.decode().splitlines()
        self.assertEqual(len(lines), 3)
        self.assertEqual(len({len(line) for line in lines}), 1)
        row = next(line for line in lines if line.startswith("a ")).split()
        self.assertEqual(row[1], str(listener.pid))
        self.assertEqual(row[6], "1")
        self.assertIn("Front Door", "\n".join(lines))

    def test_list_json(self):
        listener = self.listen("a")
        plain = self.connect("a")
        plain.send(b"text")
        self.assertEqual(listener.line(), b"text\n")
        entry = self.until(lambda: (e := self.list()["a"])["messages"] == e["connections"] == 1 and e["waiting"] == 0 and e,
                           "figures after the message was printed")
        self.assertEqual((entry["pid"], entry["uid"], entry["readable"]), (listener.pid, os.getuid(), True))
        self.assertEqual((entry["messages"], entry["bytes"], entry["next_size"]), (1, 4, None))

    def test_a_frozen_owner_is_listed(self):
        listener = self.listen("a")
        listener.signal(signal.SIGSTOP)
        entry = self.list()["a"]
        self.assertEqual(entry["pid"], listener.pid)
        self.assertIn("a ", self.run_mailroom("list").stdout.decode())
        listener.signal(signal.SIGCONT)

    def test_a_dead_owner_is_not_listed(self):
        listener = self.listen("a")
        listener.signal(signal.SIGKILL)
        listener.wait()
        self.assertEqual(self.list(), {})


class Plain(EndToEnd):
    def test_python_one_liner(self):
        listener = self.listen("a", arguments=["--json"])
        code = ("import socket,sys; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]); "
                "s.send(b'from python'); s.send(b''); s.send(bytes(range(256)))")
        client = self.start_other("python3", "-c", code, self.path("a"))
        self.assertEqual(client.wait(), DONE)
        messages = self.messages(listener, 3)
        self.assertEqual([m["length"] for m in messages], [11, 0, 256])
        self.assertEqual(messages[0]["text"], "from python")
        self.assertEqual({m["pid"] for m in messages}, {client.pid})
        self.assertEqual({m["lane"] for m in messages}, {"plain"})

    def test_socat(self):
        listener = self.listen("a", arguments=["--json"])
        address = f"UNIX-CONNECT:{self.path('a')},type=5"
        subprocess.run(["socat", "-u", "-", address], input=b"from socat\n", check=True, timeout=LIMIT)
        self.assertEqual(self.messages(listener, 1)[0]["text"], "from socat\n")
        # With shut-null socat sends an empty packet where its input ends.
        subprocess.run(["socat", "-u", "-,null-eof", address + ",shut-null"], input=b"", check=True, timeout=LIMIT)
        self.assertEqual(self.messages(listener, 1)[0]["length"], 0)

    def test_a_connection_that_says_nothing(self):
        listener = self.listen("a", arguments=["--json"])
        for _ in range(50):
            self.connect("a").close()
        self.send("a", "text")
        self.assertEqual(self.messages(listener, 1)[0]["text"], "text")


main("names")
