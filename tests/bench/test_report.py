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

MACHINE = {"system": "Linux", "processor": "a processor", "processors": 2, "memory": 2**34}
COUNTS = {"sent": 1000, "received": 1000, "lost": 0, "repeated": 0, "reordered": 0, "garbled": 0}
MARKS = ("<!-- from bench/results, by scripts/report -->", "<!-- end of what scripts/report wrote -->")


def compare_row(peer, size, writers, rate, ratio):
    curve = [{"percent": percent, "us": us} for percent, us in ((0, 3), (50, 5.5), (90, 9), (99, 40), (99.9, 100))]
    return {"peer": peer, "size": size, "writers": writers, "messages_per_second": rate, "p50_us": 5.5, "p99_us": 40,
            "ratio": ratio, "ratio_min": ratio, "ratio_max": ratio, "repetitions": 1, "curve": curve, **COUNTS}


def compare_result():
    rows = [compare_row(peer, size, writers, rate / size, ratio)
            for size in (64, 1024) for writers in (1, 8)
            for peer, rate, ratio in (("mailroom-ring", 1e9, 1.0), ("zeromq", 2e8, 5.0))]
    return {"date": "2026-01-02", "arguments": "compare --quick", "machine": MACHINE, "rows": rows}


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
        self.assertIn("| zeromq | 3.12 M (5.00 ×) |", text)
        self.assertIn("`mailroom-bench compare --quick`", text)
        drawings = sorted(path.name for path in (self.root / "docs" / "performance").iterdir())
        self.assertEqual(drawings, ["latency-64.svg", "throughput-by-size-1.svg", "throughput-by-size-8.svg"])
        for name in drawings:
            self.assertIn(f"](performance/{name})", text)
            self.assertIn("zeromq", (self.root / "docs" / "performance" / name).read_text(encoding="utf-8"))
        readme = (self.root / "README.md").read_text(encoding="utf-8")
        self.assertTrue(readme.startswith(f"before\n{MARKS[0]}\n2026-01-02, "), readme)
        self.assertTrue(readme.endswith(f"{MARKS[1]}\nafter\n"), readme)
        self.assertIn("| mailroom-ring | 15.6 M |", readme)

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
