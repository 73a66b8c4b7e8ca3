"""The bench as a program: what it prints as JSON, its exit codes, and load on a slot that another program hosts."""

import json
import math
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "end_to_end"))
from support import DONE, EndToEnd, LIMIT, NO_SLOT, PROGRAMS, USAGE, main

PEERS = ["mailroom-ring", "mailroom-plain", "seqpacket", "dgram", "mq", "pipe", "zeromq", "nng", "nanomsg", "nats",
         "jetstream", "seed"]
COUNTS = ["lost", "repeated", "reordered", "garbled"]
MEMORY_GREW = 6


class Bench(EndToEnd):
    def bench(self, *arguments, code=DONE):
        result = subprocess.run([PROGRAMS / "mailroom-bench", *map(str, arguments)], capture_output=True, timeout=LIMIT * 3,
                                check=False, env=dict(self.environment, TMPDIR=str(self.folder)), cwd=self.folder,
                                stdin=subprocess.DEVNULL)
        codes = code if isinstance(code, tuple) else (code,)
        self.assertIn(result.returncode, codes, f"mailroom-bench {arguments}: {result.stderr.decode(errors='replace')}")
        self.code = result.returncode
        left = [p.name for p in self.folder.glob("mailroom-bench-*")]
        self.assertEqual(left, [], "folders were left behind")
        return result

    def json(self, *arguments, code=DONE):
        """Its standard output, which is one JSON object and nothing else."""
        text = self.bench(*arguments, "--json", code=code).stdout.decode()
        whole = json.loads(text)
        self.assertIsInstance(whole, dict)
        for key, kind in (("system", str), ("processor", str), ("processors", int), ("memory", int)):
            self.assertIsInstance(whole["machine"][key], kind)
        self.assertIsInstance(whole["rows"], list)
        self.assertTrue(whole["rows"])
        self.assertEqual(text[-2:], "}\n")
        if arguments[0] == "compare":
            self.assertEqual(list(whole), ["machine", "rows"])
        return whole["rows"]

    def check_counts(self, row):
        for key in COUNTS:
            self.assertIsInstance(row[key], int)
            self.assertEqual(row[key], 0, row)
        if "sent" in row:
            self.assertEqual(row["sent"], row["received"], row)
            self.assertGreater(row["sent"], 0)

    def check_latency(self, row):
        values = [row[key] for key in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")]
        self.assertGreater(values[0], 0)
        self.assertEqual(values, sorted(values))

    def test_compare_by_slots_tells_what_each_design_takes(self):
        rows = self.json("compare", "--slots", "1,20", "--writers", 2, "--sizes", 64, "--peers", "mailroom-plain,seed",
                         "--messages", 1000, "--repeat", 2, "--no-latency")
        self.assertEqual([(r["slots"], r["peer"]) for r in rows],
                         [(slots, peer) for slots in (1, 20) for peer in ("mailroom-plain", "seed")])
        for row in rows:
            self.check_counts(row)
            self.assertIsNone(row["p50_us"])
            self.assertGreater(row["messages_per_second"], 0)
            self.assertGreater(row["reader_resident"], 0)
            self.assertGreater(row["waits_per_message"], 0)
        threads = {row["slots"]: row["reader_threads"] for row in rows if row["peer"] == "seed"}
        self.assertEqual(threads[20] - threads[1], 19, "a thread for each slot; a sanitizer may have some of its own")

    def test_compare_has_a_row_for_each_peer_size_and_number_of_writers(self):
        rows = self.json("compare", "--sizes", "64,5000", "--writers", "1,2", "--peers", "mailroom-plain,seqpacket,limit-memcpy",
                         "--seconds", "0.03", "--repeat", 3)
        peers = [(r["peer"], r["size"], r["writers"]) for r in rows if not r["peer"].startswith("limit-")]
        self.assertEqual(sorted(peers), sorted((p, s, w) for p in ("mailroom-plain", "seqpacket") for s in (64, 5000)
                                               for w in (1, 2)))
        self.assertEqual([(r["peer"], r["size"]) for r in rows if r["peer"].startswith("limit-")],
                         [("limit-memcpy", 64), ("limit-memcpy", 5000)])
        for row in rows:
            self.check_counts(row)
            self.assertGreater(row["messages_per_second"], 0)
            self.assertIsNone(row["ratio"], "there is no mailroom-ring in this run")
            if not row["peer"].startswith("limit-"):
                self.assertGreater(row["p50_us"], 0)
                self.assertGreaterEqual(row["p99_us"], row["p50_us"])
                self.assertEqual(row["repetitions"], 3)

    def test_compare_gives_ratios_to_the_ring_with_their_spread(self):
        rows = self.json("compare", "--sizes", "64", "--writers", "1", "--peers", "mailroom-ring,seqpacket", "--seconds", "0.05",
                         "--repeat", 3)
        ring, other = rows
        self.assertEqual(ring["peer"], "mailroom-ring")
        self.assertEqual((ring["ratio"], ring["ratio_min"], ring["ratio_max"]), (1, 1, 1))
        self.assertLessEqual(other["ratio_min"], other["ratio"])
        self.assertLessEqual(other["ratio"], other["ratio_max"])
        self.assertTrue(math.isclose(other["ratio"], ring["messages_per_second"] / other["messages_per_second"], rel_tol=0.9))

    def test_compare_has_a_row_for_what_a_peer_cannot_do(self):
        arguments = ("compare", "--sizes", "300000", "--writers", "1", "--peers", "mailroom-plain,pipe", "--seconds", "0.05",
                     "--repeat", 1, "--no-latency")
        plain, pipe = self.json(*arguments)
        self.assertEqual((plain["peer"], pipe["peer"]), ("mailroom-plain", "pipe"))
        self.assertRegex(plain["unable"], "it takes messages of up to [0-9]+ bytes")
        for key in ("messages_per_second", "p50_us", "p99_us", "ratio"):
            self.assertIsNone(plain[key])
        self.assertNotIn("unable", pipe)
        self.assertGreater(pipe["messages_per_second"], 0)
        table = self.bench(*arguments).stdout.decode()
        self.assertRegex(table, r"(?m)^  mailroom-plain +not possible: it takes messages of up to [0-9]+ bytes$")

    def test_compare_has_rows_for_a_peer_that_is_missing(self):
        """Whether it was not found when the program was built, or its server does not start now."""
        server = self.folder / "bin" / "nats-server"
        server.parent.mkdir()
        server.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
        server.chmod(0o755)
        self.environment["PATH"] = f"{server.parent}:{self.environment['PATH']}"
        arguments = ("compare", "--sizes", "64,128", "--writers", "1", "--peers", "pipe,nats", "--seconds", "0.05", "--repeat", 1,
                     "--no-latency")
        rows = self.json(*arguments)
        self.assertEqual([(row["peer"], row["size"]) for row in rows], [("pipe", 64), ("nats", 64), ("pipe", 128), ("nats", 128)])
        for row in rows:
            self.assertEqual("missing" in row, row["peer"] == "nats", row)
            self.assertEqual(row["messages_per_second"] is None, row["peer"] == "nats", row)
            self.check_counts(row)
        table = self.bench(*arguments).stdout.decode()
        self.assertEqual(len([line for line in table.splitlines() if line.startswith("  nats ") and " missing: " in line]), 2, table)

    def test_every_peer_of_the_list_is_known(self):
        text = self.bench("peers").stdout.decode()
        for peer in PEERS:
            self.assertRegex(text, rf"(?m)^  {peer} ")

    def test_throughput(self):
        (row,) = self.json("throughput", "--lane", "plain", "--slots", 5, "--writers", 3, "--messages", 3000, "--size", "8-2000",
                           "--priority-mix", "80,20")
        self.check_counts(row)
        self.assertEqual((row["peer"], row["slots"], row["writers"], row["sent"]), ("mailroom-plain", 5, 3, 3000))
        self.assertIsNone(row["p50_us"], "flat out there is no latency")

    def test_throughput_at_a_rate_keeps_it_and_takes_latency(self):
        (row,) = self.json("throughput", "--lane", "plain", "--writers", 2, "--rate", 2000, "--duration", 0.5, "--threads")
        self.check_counts(row)
        self.assertEqual(row["sent"], 1000)
        self.check_latency(row)

    def test_latency_idle_and_loaded(self):
        idle, loaded = self.json("latency", "--lane", "plain", "--duration", 0.2, "--rate", 5000)
        self.assertEqual((idle["part"], loaded["part"], idle["sent"], loaded["sent"]), ("idle", "loaded", 200, 1000))
        for row in (idle, loaded):
            self.check_counts(row)
            self.check_latency(row)

    def test_fan_in_burst_and_rows(self):
        one, all_slots = self.json("fan-in", "--lane", "plain", "--slots", 20, "--duration", 0.1)
        self.assertEqual((one["slots"], all_slots["slots"]), (1, 20))
        self.assertTrue(math.isclose(all_slots["ratio"], all_slots["messages_per_second"] / one["messages_per_second"], rel_tol=1e-3))
        (burst,) = self.json("burst", "--lane", "plain", "--writers", 2, "--burst", 50, "--rate", 1000, "--duration", 0.3)
        self.assertEqual(burst["sent"], 300)
        for row in (one, all_slots, burst):
            self.check_counts(row)
        self.check_latency(burst)
        (idle,) = self.json("rows", "--lane", "plain", "--only", "idle", "--seconds", 0.05, "--repeat", 1)
        self.check_counts(idle)
        self.assertTrue(math.isclose(idle["ratio"], idle["value"] / idle["against_value"], rel_tol=1e-3))

    def test_soak_and_memory(self):
        # So short a run may still be filling its caches: what is tested is that the verdict is the exit code.
        (row,) = self.json("soak", "--lane", "plain", "--duration", 1, code=(DONE, MEMORY_GREW))
        self.check_counts(row)
        self.assertEqual(len(row["memory_tenths"]), 10)
        self.assertEqual(row["grew"], self.code == MEMORY_GREW)
        rows = self.json("memory", "--lane", "plain", "--slots", "1,20", "--idle", 30)
        self.assertEqual([(r["slots"], r["writers"]) for r in rows], [(1, 1), (20, 20), (1, 31)])
        for row in rows:
            self.check_counts(row)
            self.assertGreater(row["reader_idle_resident"], 100000)

    def test_a_target_hosted_by_another_program(self):
        listener = self.listen("target", arguments=["--count", 300, "--json"])
        (row,) = self.json("throughput", "--target", "target", "--writers", 3, "--messages", 300)
        self.assertEqual(row["sent"], 300)
        self.assertTrue(math.isclose(row["bytes_per_second"], row["messages_per_second"] * 64, rel_tol=1e-3), row)
        lengths = [json.loads(line)["length"] for line in listener.rest()]
        self.assertEqual(lengths, [64] * 300)
        self.assertEqual(listener.wait(), DONE)

    def test_many_targets_and_none(self):
        hub = self.hub("--slots", "target-%02d:5")
        (row,) = self.json("throughput", "--lane", "plain", "--target", "target-%02d:5", "--writers", 2, "--messages", 100, "--every")
        self.assertEqual((row["slots"], row["sent"]), (5, 100))
        limit = time.monotonic() + LIMIT
        while sum(entry["messages"] for entry in self.list().values()) < 100:
            self.assertLess(time.monotonic(), limit, "not all of it came")
        hub.end()
        result = self.bench("throughput", "--target", "nobody", code=NO_SLOT)
        self.assertIn("nobody", result.stderr.decode())

    def test_ended_by_a_signal_it_leaves_nothing(self):
        program = self.start_other(PROGRAMS / "mailroom-bench", "soak", "--lane", "plain", "--duration", "60",
                                   env=dict(self.environment, TMPDIR=str(self.folder)))
        limit = time.monotonic() + LIMIT
        while not list(self.folder.glob("mailroom-bench-*/bench-*/*.lock")):
            self.assertLess(time.monotonic(), limit, "it did not begin")
        program.signal(2)
        self.assertEqual(program.wait(), 1)
        self.assertIn("ended by a signal", program.error_text())
        self.assertEqual(list(self.folder.glob("mailroom-bench-*")), [])

    def test_usage(self):
        self.assertIn("is no option here", self.bench("throughput", "--nothing", code=USAGE).stderr.decode())


if __name__ == "__main__":
    main("bench")
