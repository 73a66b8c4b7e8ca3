"""scripts/report and scripts/perf-counts: the document follows from the results, and a difference is noticed; counts that have
risen too far fail. Last, the repository's own document and counts."""

import json
import pathlib
import shutil
import subprocess
import sys
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path.insert(0, str(TESTS / "end_to_end"))
from support import EndToEnd, LIMIT, PROGRAMS, main
sys.path.insert(0, str(ROOT / "scripts" / "lib"))
import report_text

MACHINE = {"system": "Linux", "processor": "a processor", "processors": 2, "memory": 2**34}
COUNTS = {"sent": 1000, "received": 1000, "lost": 0, "repeated": 0, "reordered": 0, "garbled": 0}
MARKS = ("<!-- from bench/results, by scripts/report -->", "<!-- end of what scripts/report wrote -->")


def compare_row(peer, size, writers, rate, ratio, spread=0.0):
    curve = [{"percent": percent, "us": us} for percent, us in ((0, 3), (50, 5.5), (90, 9), (99, 40), (99.9, 100))]
    return {"peer": peer, "size": size, "writers": writers, "messages_per_second": rate, "p50_us": 5.5, "p99_us": 40,
            "ratio": ratio, "ratio_min": ratio - spread, "ratio_max": ratio + spread, "repetitions": 1, "curve": curve, **COUNTS}


def compare_result():
    rows = [compare_row(peer, size, writers, rate / size, ratio, spread)
            for size in (64, 1024) for writers in (1, 8)
            for peer, rate, ratio, spread in (("mailroom-ring", 1e9, 1.0, 0), ("zeromq", 2e8, 5.0, 1.0))]
    rows += [compare_row("limit-ring", size, 1, 2e9 / size, 0.5) for size in (64, 1024)]
    return {"date": "2026-01-02", "arguments": "compare --quick", "machine": MACHINE, "rows": rows}


def aim_row(row, figure, value, other, least, aim, **further):
    """A row of `rows`, judged as the bench judges it."""
    ratio = value / other

    def reaches(bound):
        return bound is None or (ratio >= bound if figure == "messages_per_second" else ratio <= bound)

    return {"row": row, "peer": "mailroom-ring", "title": f"title of {row}", "against": "zeromq", "figure": figure, "size": 64,
            "slots": 1, "writers": 1, "value": value, "against_value": other, "ratio": ratio, "ratio_min": ratio,
            "ratio_max": ratio, "least": least, "aim": aim,
            "reached": "aim" if reaches(aim) else "least" if reaches(least) else "missed", **COUNTS, **further}


@unittest.skipUnless(shutil.which("gnuplot"), "gnuplot is not here (Debian: gnuplot-nox)")
class Report(EndToEnd):
    def setUp(self):
        super().setUp()
        self.root = self.folder / "root"
        self.results = self.root / "bench" / "results"
        self.results.mkdir(parents=True)
        (self.root / "docs").mkdir()
        (self.root / "README.md").write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n", encoding="utf-8")
        self.keep("compare", compare_result())

    def keep(self, name, result):
        (self.results / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")

    def report(self, *arguments, code=0, root=None):
        result = subprocess.run([sys.executable, "-B", ROOT / "scripts" / "lib" / "report.py", "--root", root or self.root,
                                 "--bench", PROGRAMS / "mailroom-bench", *arguments],
                                capture_output=True, text=True, timeout=LIMIT * 3, check=False, env=self.environment)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stdout + result.stderr

    def test_document_follows_from_results(self):
        self.report("--check", code=1)
        self.report()
        self.report("--check")
        text = (self.root / "docs" / "performance.md").read_text(encoding="utf-8")
        self.assertIn("| zeromq | 3.12 M | ", text)
        self.assertIn("| zeromq | 5.00 (4.00 to 6.00) | ", text)
        self.assertIn("| 64 B, 1 writer | 15.6 M | zeromq | 5.00 (4.00 to 6.00) | – | 50 % |", text)
        self.assertIn("`mailroom-bench compare --quick`", text)
        self.assertIn("nothing was, in any of the 10 rows below", " ".join(text.split()))
        self.assertNotIn(" to 2026", text)
        drawings = sorted(path.name for path in (self.root / "docs" / "performance").iterdir())
        self.assertEqual(drawings, ["latency-64.svg", "throughput-by-size-1.svg", "throughput-by-size-8.svg"])
        for name in drawings:
            self.assertIn(f"](performance/{name})", text)
            self.assertIn("zeromq", (self.root / "docs" / "performance" / name).read_text(encoding="utf-8"))
        readme = (self.root / "README.md").read_text(encoding="utf-8")
        self.assertTrue(readme.startswith(f"before\n{MARKS[0]}\n2026-01-02, "), readme)
        self.assertTrue(readme.endswith(f"{MARKS[1]}\nafter\n"), readme)
        self.assertIn("| 64 B, 1 writer | 15.6 M | zeromq | 5.00 (4.00 to 6.00) | – | 50 % |", readme)
        self.assertIn("a message takes 5.50 µs (p50)", readme)

    def test_what_limits_an_aim_that_is_missed_follows_from_the_figures(self):
        results = {"compare": compare_result()}

        def limits(*rows):
            results["rows"] = {"date": "2026-01-02", "arguments": "rows", "machine": MACHINE, "rows": rows}
            return " ".join(" ".join(report_text.document(results, {}, set())).split())

        # In the comparison the ring inside one process carries 31.25 M messages of 64 bytes a second.
        self.assertIn("Every aim is reached.", limits(aim_row("64-1", "messages_per_second", 24e6, 2e6, 5, 12)))
        text = limits(aim_row("64-1", "messages_per_second", 20e6, 2e6, 5, 12))
        self.assertIn("title of 64-1, against zeromq (the aim is missed): the aim would be 24.0 M messages a second.", text)
        self.assertIn("carries 31.2 M here (limit-ring, in the comparison), of which Mailroom's is at 64 %.", text)
        text = limits(aim_row("64-1", "messages_per_second", 20e6, 5e6, 5, 12, ratio_max=13))
        self.assertIn("(what is asked for is missed): the aim would be 60.0 M", text)
        self.assertIn("the aim is above that, and Mailroom's ring is at 64 % of it. The best of the repetitions reaches the aim.", text)
        text = limits(aim_row("64-8", "messages_per_second", 50e6, 8e6, 5, 12, reader_busy=0.97, reader_ns=19.4))
        self.assertIn("at work 97 % of one processor's time, 19.4 ns for a message; 12 times would leave it 10.4 ns.", text)
        wake = aim_row("p50-wake", "p50_us", 5, 4, 1.4, 1.4, against="a wake-up")
        text = limits(wake, aim_row("p50-mq", "p50_us", 6, 3, None, 1, against="mq"))
        self.assertIn("takes 4.00 µs (limit-eventfd-epoll): the aim is below that.", text)
        self.assertIn("; 2.00 µs are what the lane adds to it.", limits(wake, aim_row("p50-mq", "p50_us", 6, 5, None, 1)))
        self.assertIn("and one of the writers never pauses.", limits(aim_row("flood", "p99_us", 90, 20, 3, 1.5, writers=8)))
        text = limits(aim_row("flood-usual", "p99_us", 900, 20, None, 1.5, writers=8, late_p99_us=800, writers_priority="usual"))
        self.assertIn("The writers that keep time (priority: usual) awoke themselves late by 800 µs (p99), which is in it.", text)
        self.assertIn("90 % of the other side's rate.",
                      limits(aim_row("idle", "messages_per_second", 9e6, 1e7, 0.95, 1, against="none more")))
        for waits, said in ((0.2, "that is what limits it."), (0.0001, "it is not that. The reader's process holds 8.00 MiB")):
            rows = [dict(compare_row("mailroom-ring", 64, 2, rate, 1), slots=slots, waits_per_message=waits, reader_threads=3,
                         reader_resident=held * 2**20) for slots, rate, held in ((1, 2e6, 4), (500, 1e6, 8))]
            results["slots"] = {"date": "2026-01-02", "arguments": "compare --slots 1,500", "machine": MACHINE, "rows": rows}
            text = limits(wake, aim_row("slots", "messages_per_second", 5e6, 1e7, 0.7, 0.9, slots=200, against="one slot"))
            self.assertIn("50 % of the rate into one slot.", text)
            self.assertIn(said, text)

    def test_what_has_no_figures_is_named_with_its_reason(self):
        result = compare_result()
        nothing = {"messages_per_second": None, "p50_us": None, "p99_us": None, "ratio": None, "ratio_min": None, "ratio_max": None}
        for writers in (1, 8):
            row = {**compare_row("nng", 64, writers, 1, 1), **nothing, "missing": "its library was not found"}
            del row["curve"]
            result["rows"].append(row)
        self.keep("compare", result)
        self.report()
        text = (self.root / "docs" / "performance.md").read_text(encoding="utf-8")
        self.assertIn("\n- nng, 64 B, 1 writer; 64 B, 8 writers: its library was not found\n", text)
        self.assertNotIn("| nng |", text)

    def test_damage_is_told(self):
        result = compare_result()
        result["rows"][1]["lost"] = 7
        self.keep("compare", result)
        self.report()
        text = " ".join((self.root / "docs" / "performance.md").read_text(encoding="utf-8").split())
        self.assertIn("zeromq, 64 B, 1 writer: 7 lost.", text)

    def test_a_readme_that_lacks_the_marks(self):
        (self.root / "README.md").write_text(f"{MARKS[0]}\n", encoding="utf-8")
        self.assertIn("README.md lacks the marks", self.report(code=1))
        self.assertFalse((self.root / "docs" / "performance.md").exists())

    def test_measuring_keeps_what_a_command_gave_and_goes_on_where_one_fails(self):
        bench = self.folder / "bench"
        bench.write_text("#!/bin/sh\n"
                         "[ \"$1\" != soak ] || exit 3\n"
                         f"printf '{{\"command\": \"%s\", \"machine\": {json.dumps(MACHINE)}, \"rows\": []}}\\n' \"$1\"\n",
                         encoding="utf-8")
        bench.chmod(0o755)
        (self.results / "soak.json").write_text("as it was", encoding="utf-8")
        said = self.report("--bench", bench, "--measure", "--quick", "--only", "soak,many", code=1)
        self.assertIn("scripts/report --measure --only soak", said)
        self.assertEqual((self.results / "soak.json").read_text(encoding="utf-8"), "as it was")
        kept = json.loads((self.results / "many.json").read_text(encoding="utf-8"))
        self.assertEqual((kept["command"], kept["rows"]), ("throughput", []))
        self.assertTrue(kept["arguments"].startswith("throughput --slots "), kept)
        self.assertIn("no such results: nothing", self.report("--bench", bench, "--measure", "--only", "nothing", code=1))

    def test_what_wine_said_stands_apart(self):
        rows = [dict(compare_row(peer, 64, 2, rate, ratio), slots=slots, reader_threads=threads * slots + 1,
                     reader_resident=2**20 * threads, waits_per_message=None)
                for slots in (1, 500) for peer, rate, ratio, threads in (("mailroom-native", 8e3, 1.0, 2), ("seed", 4e3, 2.0, 5))]
        wine = {"date": "2026-01-03", "arguments": "compare --slots 1,500", "rows": rows,
                "machine": dict(MACHINE, system="Wine 10.0 on Linux")}
        self.keep("wine", wine)
        self.report()
        text = (self.root / "docs" / "performance.md").read_text(encoding="utf-8")
        self.assertIn("Measured 2026-01-02 on ", text)
        head, section = text.split("## Under Wine")
        self.assertNotIn("Wine", head)
        self.assertIn("Seen under Wine, 2026-01-03, on ", section)
        self.assertIn("| 500 | 2501 : 1001 (2.5 ×) | 5.00 : 2.00 (2.5 ×) | – | 2.0 (2.0 to 2.0) |", section)
        for drawing in (self.root / "docs" / "performance").iterdir():
            self.assertNotIn("mailroom-native", drawing.read_text(encoding="utf-8"))
        (self.results / "compare.json").unlink()
        self.report()
        text = (self.root / "docs" / "performance.md").read_text(encoding="utf-8")
        self.assertIn("Seen under Wine", text)
        self.assertNotIn("Measured ", text)

    def test_each_difference_is_noticed(self):
        self.report()
        docs = self.root / "docs"
        changed = {docs / "performance.md": "docs/performance.md", self.root / "README.md": "README.md",
                   docs / "performance" / "latency-64.svg": "docs/performance/latency-64.svg"}
        for path, name in changed.items():
            whole = path.read_text(encoding="utf-8")
            path.write_text(whole.replace("zeromq", "zeromQ"), encoding="utf-8")
            self.assertIn(f"report: {name} is not", self.report("--check", code=1))
            path.write_text(whole, encoding="utf-8")
        (docs / "performance" / "latency-64.svg").unlink()
        self.assertIn("latency-64.svg is not", self.report("--check", code=1))
        self.report()
        result = compare_result()
        result["rows"][0]["messages_per_second"] *= 1.5
        self.keep("compare", result)
        said = self.report("--check", code=1)
        for name in ("docs/performance.md", "README.md", "docs/performance/throughput-by-size-1.svg"):
            self.assertIn(f"report: {name} is not", said)

    def test_what_is_no_result(self):
        (self.results / "compare.json").write_text('{"date": "2026-01-02", "arguments": "x"}', encoding="utf-8")
        self.assertIn("has no rows", self.report(code=1))
        (self.results / "compare.json").unlink()
        self.assertIn("bench/results is empty", self.report(code=1))

    def test_the_repository(self):
        """What is kept here gives the document that is kept here."""
        results = [path for path in (ROOT / "bench" / "results").glob("*.json") if path.name != "counts.json"]
        if not results:
            self.assertFalse((ROOT / "docs" / "performance.md").exists(), "a document without results")
        else:
            self.report("--check", root=ROOT)


class PerfCounts(EndToEnd):
    def setUp(self):
        super().setUp()
        self.dumps = self.folder / "dumps"
        self.dumps.mkdir()
        self.build = self.folder / "build"
        self.build.mkdir()
        (self.build / "CMakeCache.txt").write_text("CMAKE_C_COMPILER:FILEPATH=cc\nCMAKE_C_FLAGS:STRING=\n"
                                                   "CMAKE_BUILD_TYPE:STRING=Release\nCMAKE_C_FLAGS_RELEASE:STRING=-O2\n",
                                                   encoding="utf-8")
        self.kept = self.folder / "counts.json"

    def count(self, mode, code=0, **figures):
        """The figures are for 100 messages; the underscore stands for a hyphen."""
        for path in self.dumps.iterdir():
            path.unlink()
        (self.dumps / "messages").write_text("".join(f"{name.replace('_', '-')} 100\n" for name in figures), encoding="ascii")
        for name, figure in figures.items():
            (self.dumps / f"out.{name}").write_text(
                f"desc: Trigger: Client Request: {name.replace('_', '-')}\nevents: Ir\ntotals: {figure}\n", encoding="ascii")
        result = subprocess.run([sys.executable, "-B", ROOT / "scripts" / "lib" / "perf_counts.py", mode, self.dumps, self.build,
                                 self.kept], capture_output=True, text=True, timeout=LIMIT, check=False)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stdout + result.stderr

    @unittest.skipUnless(shutil.which("valgrind"), "valgrind is not here")
    def test_what_has_risen(self):
        self.count("check", code=1, write_64=10000)
        self.count("update", write_64=10000, read_64=20000)
        kept = json.loads(self.kept.read_text(encoding="utf-8"))
        self.assertEqual(kept["instructions_per_message"], {"write-64": 100.0, "read-64": 200.0})
        self.count("check", write_64=10900, read_64=10000)
        self.assertIn("write-64", self.count("check", code=1, write_64=11100, read_64=20000))
        self.count("show", write_64=11100, read_64=20000)
        self.count("check", code=1, write_64=10000)
        self.assertIn("nothing was counted", self.count("check", code=1, write_64=0, read_64=20000))
        kept["circumstances"]["compiler"] = "another one"
        self.kept.write_text(json.dumps(kept), encoding="utf-8")
        self.assertIn("not comparable: compiler was another one", self.count("check", write_64=90000, read_64=20000))


if __name__ == "__main__":
    main("bench-report")
