"""Measures, and writes docs/performance.md from what was measured. Run by scripts/report, and by the tests with --check.

    report.py [--root DIR] [--bench PROGRAM] [--measure] [--quick] [--only NAME,...] [--check] | --list

bench/results/NAME.json is what the bench printed, with the date and the command line in front. The document and its drawings
follow from these files alone, so that --check can tell whether somebody changed one without the other.
"""
import argparse
import datetime
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time

PEERS = "mailroom-ring,mailroom-plain,seqpacket,dgram,pipe,zeromq,nanomsg,seed"

# Both designs on mailslots. Run by Wine, its figures stand apart from all others.
WINE = "compare --slots 1,50,500 --writers 2 --sizes 64 --peers mailroom-native,seed --no-latency"

# Name, the arguments for mailroom-bench, and those that take their place with --quick.
RESULTS = [
    ("compare", "compare --seconds 1 --repeat 5", "compare --quick"),
    ("rows", "rows --seconds 1 --repeat 5", "rows --seconds 0.2 --repeat 3"),
    ("writers", f"compare --sizes 64 --writers 1,2,4,8,16,32 --seconds 0.5 --repeat 3 --peers {PEERS}",
     "compare --sizes 64 --writers 1,4,16 --seconds 0.1 --repeat 1 --peers mailroom-ring,zeromq,seqpacket,seed"),
    *[(f"slots-{slots}-{peer}", f"fan-in --slots {slots} --writers 2 --duration 2 --peer {peer}",
       f"fan-in --slots {slots} --writers 2 --duration 0.3 --peer {peer}")
      for peer in ("mailroom-ring", "seed") for slots in (10, 100, 500)],
    *[(f"latency-{peer}", f"latency --duration 3 --peer {peer}", f"latency --duration 0.5 --peer {peer}")
      for peer in ("mailroom-ring", "mailroom-plain", "seqpacket", "mq", "zeromq", "seed")],
    ("memory-mailroom-ring", "memory --slots 1,10,100,500", "memory --slots 1,10,100"),
    ("memory-seed", "memory --slots 1,10,100,500 --peer seed", "memory --slots 1,10,100 --peer seed"),
    ("many", "throughput --slots 500 --writers 500 --duration 5", "throughput --slots 100 --writers 100 --duration 0.5"),
    ("soak", "soak --duration 60", "soak --duration 5"),
    ("wine", f"{WINE} --messages 10000 --repeat 5", f"{WINE} --messages 2000 --repeat 1"),
]

DRAWINGS = [
    ("throughput-by-size-1", "By size, one writer"), ("throughput-by-size-8", "By size, eight writers"),
    ("throughput-by-writers-64", "By number of writers"), ("throughput-by-slots-64", "By number of slots"),
    ("latency-64", "Latency into an idle slot"), ("latency-loaded-64", "Latency under half of the load that it carries"),
    ("memory-by-slots", "Memory"),
]

BEGIN = "<!-- from bench/results, by scripts/report -->"
END = "<!-- end of what scripts/report wrote -->"


# ---------------------------------------------------------------------------------------------------- measuring

def wine_program():
    """The words in front of the bench's arguments, with the bench built for Windows."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    wine = os.path.join(root, "scripts", "wine")
    if subprocess.run([wine, "build"], stdout=subprocess.DEVNULL, check=False).returncode != 0:
        sys.exit("report: scripts/wine build failed")
    return [wine, "run", "--timeout", "900", os.path.join(root, "build", "mingw", "bin", "mailroom-bench.exe")]


def measure(bench, results, quick, only):
    os.makedirs(results, exist_ok=True)
    chosen = [entry for entry in RESULTS if not only or entry[0] in only]
    unknown = only - {entry[0] for entry in RESULTS}
    if unknown:
        sys.exit(f"report: no such results: {', '.join(sorted(unknown))} (scripts/report --list)")
    for number, (name, full, short) in enumerate(chosen, 1):
        arguments = (short if quick else full).split()
        print(f"{time.strftime('%H:%M:%S')}  {number} of {len(chosen)}: mailroom-bench {' '.join(arguments)}", flush=True)
        program = wine_program() if name == "wine" else [bench]
        run = subprocess.run([*program, *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False)
        if name == "wine" and run.returncode == 77:
            print("report: Wine does not run here; its result stays as it is")
            continue
        if run.returncode != 0:
            sys.exit(f"report: mailroom-bench {' '.join(arguments)} ended with {run.returncode}")
        kept = {"date": datetime.date.today().isoformat(), "arguments": " ".join(arguments), **json.loads(run.stdout)}
        path = os.path.join(results, name + ".json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=1)
            file.write("\n")
        os.replace(path + ".new", path)


# ---------------------------------------------------------------------------------------------------- in words

def load(results):
    """The results that are there, by name, in the order of RESULTS."""
    found = {}
    for name, _, _ in RESULTS:
        path = os.path.join(results, name + ".json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found[name] = json.load(file)
    return found


def significant(number, digits=3):
    """1234.5 as 1,230; 0.01234 as 0.0123."""
    if number is None:
        return "–"
    if number == 0:
        return "0"
    rounded = float(f"{number:.{digits}g}")
    decimals = max(0, digits - len(str(int(abs(rounded)))))
    if abs(rounded) < 1:
        return f"{rounded:.{digits}g}"
    return f"{rounded:,.{decimals}f}"


def plain(number):
    return "–" if number is None else f"{number:g}"


def rate(number):
    if number is None:
        return "–"
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if number >= unit:
            return significant(number / unit) + name
    return significant(number)


def size_text(size):
    return f"{size // 1024} KiB" if size >= 1024 and size % 1024 == 0 else f"{size} B"


def writers_text(writers):
    return "1 writer" if writers == 1 else f"{writers} writers"


def mebibytes(number):
    return significant(number / 2**20) if number is not None else "–"


def table(head, lines):
    yield "| " + " | ".join(head) + " |"
    yield "| --- |" + " ---: |" * (len(head) - 1)
    for line in lines:
        yield "| " + " | ".join(line) + " |"


def command(result):
    return f"`mailroom-bench {result['arguments']}`"


def commands(results):
    """A block with one on each line."""
    return ["```", *(f"mailroom-bench {result['arguments']}" for result in results), "```"]


def in_order(rows, key):
    """Different values in the order of their first appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def compare_table(result):
    rows = result["rows"]
    columns = sorted({(row["size"], row["writers"]) for row in rows if not row["peer"].startswith("limit-")})
    cells = {(row["peer"], row["size"], row["writers"]): row for row in rows}
    lines = []
    for peer in in_order(rows, "peer"):
        line = [peer]
        for size, writers in columns:
            row = cells.get((peer, size, writers)) or (cells.get((peer, size, 1)) if peer.startswith("limit-") else None)
            text = rate(row["messages_per_second"]) if row else "–"
            if row and row.get("ratio") and peer != "mailroom-ring":
                text += f" ({significant(row['ratio'])} ×)"
            line.append(text)
        if any(cell != "–" for cell in line[1:]):
            lines.append(line)
    return table(["messages/s", *(f"{size_text(size)}, {writers_text(writers)}" for size, writers in columns)], lines)


def compare_latency_table(result):
    rows = [row for row in result["rows"] if row.get("p50_us") is not None]
    smallest = min((row["size"] for row in rows), default=0)
    return table(["one way, 2,000 messages/s", "p50 µs", "p99 µs"],
                 [[row["peer"], significant(row["p50_us"]), significant(row["p99_us"])] for row in rows
                  if row["writers"] == 1 and (row["size"] == smallest or row["peer"].startswith("limit-"))])


def rows_table(result):
    return table(["", "against", "measured", "spread", "at least / most", "aim", "reached"],
                 [[row["title"], row["against"], significant(row["ratio"]),
                   f"{significant(row['ratio_min'])} to {significant(row['ratio_max'])}", plain(row["least"]),
                   plain(row["aim"]), row["reached"]] for row in result["rows"]])


def latency_table(results):
    lines = []
    for name, result in results.items():
        if name.startswith("latency-"):
            for row in result["rows"]:
                lines.append([f"{row['peer']}, {row.get('part', '')}", rate(row["rate"]),
                              *(significant(row[key]) for key in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us"))])
    return table(["µs", "messages/s", "p50", "p90", "p99", "p99.9", "max"], lines)


def slots_table(results):
    lines = []
    for name, result in results.items():
        if name.startswith("slots-"):
            for row in result["rows"]:
                if row.get("part") == "all slots":
                    lines.append([row["peer"], str(row["slots"]), rate(row["messages_per_second"]),
                                  significant(row["ratio"], 2) if row.get("ratio") else "–"])
    return table(["", "slots", "messages/s", "of one slot's rate"], lines)


def memory_table(results):
    lines = []
    for name, result in results.items():
        if name.startswith("memory-"):
            for row in result["rows"]:
                lines.append([row["peer"], str(row["slots"]), str(row["writers"]), mebibytes(row["reader_idle_resident"]),
                              mebibytes(row["reader_busy_resident"]), mebibytes(row["writers_busy_share"]),
                              str(row["reader_threads"])])
    return table(["MiB", "slots", "writers", "reader idle", "reader busy", "writers busy", "reader's threads"], lines)


def counted(row):
    """That a row's messages all came, or what became of them."""
    wrong = [f"{row[key]:,} {key}" for key in ("lost", "repeated", "reordered", "garbled") if row.get(key)]
    return f"{row['received']:,} messages, " + (", ".join(wrong) or "none lost, repeated, out of order or garbled")


def counts_table(counts):
    return table(["instructions a message", "64 B", "1 KiB"],
                 [[path, *(significant(counts.get(f"{path}-{size}", 0), 4) for size in (64, 1024))]
                  for path in in_order([{"path": name.rsplit("-", 1)[0]} for name in counts], "path")])


def machine_text(machine):
    return (f"{machine['processors']} × {machine['processor']}, {round(machine['memory'] / 2**30)} GiB, "
            f"{machine['system']}")


def wrapped(text):
    return textwrap.wrap(text, 118, break_long_words=False, break_on_hyphens=False)


def wine_table(result):
    rows = {(row["peer"], row["slots"]): row for row in result["rows"]}
    lines = []
    for slots in in_order(result["rows"], "slots"):
        ours, seed = rows["mailroom-native", slots], rows["seed", slots]

        def cell(key, text):
            if ours[key] is None or seed[key] is None:
                return "–"
            return f"{text(seed[key])} : {text(ours[key])} ({significant(seed[key] / ours[key], 2)} ×)"

        lines.append([str(slots), cell("reader_threads", plain), cell("reader_resident", mebibytes),
                      cell("waits_per_message", significant),
                      f"{significant(seed['ratio'], 2)} ({significant(seed['ratio_min'], 2)} to "
                      f"{significant(seed['ratio_max'], 2)})"])
    return table(["slots", "reader's threads, article : ours", "reader's MiB", "context switches a message",
                  "ours carries … times as many messages"], lines)


def document(results, counts, drawings):
    """The lines of docs/performance.md."""
    wine = results.get("wine")
    results = {name: result for name, result in results.items() if name != "wine"}
    dates = sorted({result["date"] for result in results.values()})
    machines = list(dict.fromkeys(machine_text(result["machine"]) for result in results.values()))
    yield "# How fast Mailroom is, and beside what"
    yield ""
    yield "Written by `scripts/report` from [bench/results](../bench/results): change that, not this."
    if results:
        yield ""
        yield f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on {'; '.join(machines)}. A virtual machine that"
        yield "others use as well: take the ratios, which come from interleaved runs, and not the absolute figures."
        yield ""
        yield "Reader and writers are processes. Every message carries its writer, its number and a checksum, and each run counts"
        yield "what was lost, repeated, out of order or garbled; none of the figures here comes from a run with any of that."
        yield "`mailroom-bench peers` says what exactly each peer is. Again: `scripts/report --measure`, or the command beside a"
        yield "figure, after `./scripts/build`, from `build/release/bin`."

    def section(title, *content):
        yield ""
        yield f"## {title}"
        for part in content:
            yield ""
            yield from ([part] if isinstance(part, str) else part)

    def drawn(*names):
        return [f"![{text}](performance/{name}.svg)" for name, text in DRAWINGS if name in names and name in drawings]

    if "compare" in results:
        result = results["compare"]
        yield from section("Messages a second", command(result),
                           "In parentheses: how many times as many Mailroom's ring carries, the median of the repetitions' own ratios.",
                           compare_table(result), *drawn("throughput-by-size-1", "throughput-by-size-8"))
        yield from section("Latency, beside the peers", command(result),
                           "From the moment at which a message was to be sent until the reader has it.",
                           compare_latency_table(result), *drawn("latency-64"))
    if "rows" in results:
        yield from section("What the ring is held to", command(results["rows"]), rows_table(results["rows"]))
    latencies = [result for name, result in results.items() if name.startswith("latency-")]
    if latencies:
        yield from section("Latency, idle and loaded", commands(latencies),
                           "`loaded` is half of what half a second flat out has carried.", latency_table(results),
                           *drawn("latency-loaded-64"))
    if "writers" in results:
        yield from section("By number of writers", command(results["writers"]), compare_table(results["writers"]),
                           *drawn("throughput-by-writers-64"))
    slots = [result for name, result in results.items() if name.startswith("slots-")]
    if slots:
        yield from section("By number of slots", commands(slots), slots_table(results),
                           *drawn("throughput-by-slots-64"))
    memories = [result for name, result in results.items() if name.startswith("memory-")]
    if memories:
        yield from section("Memory", commands(memories), memory_table(results),
                           *drawn("memory-by-slots"))
    if "many" in results:
        row = results["many"]["rows"][0]
        yield from section(f"{row['slots']} slots, {row['writers']} writers", command(results["many"]),
                           f"{rate(row['messages_per_second'])} messages a second; {counted(row)}.")
    if "soak" in results:
        row = results["soak"]["rows"][0]
        tenths = ", ".join(mebibytes(tenth) for tenth in row["memory_tenths"])
        yield from section("For a while", command(results["soak"]),
                           f"{counted(row)}. The memory of all processes in the tenths of that time, MiB: {tenths}.")
    if wine:
        yield from section(
            "Under Wine: the article's design and ours on mailslots",
            f"`scripts/wine run build/mingw/bin/mailroom-bench.exe {wine['arguments']}`",
            wrapped(f"Seen under Wine, {wine['date']}, on {machine_text(wine['machine'])}; a virtual machine that others use as "
                    "well, hence the spread. Wine passes every message of every program through one process, its server: rates "
                    "under it say nothing of Windows, and are not shown. What is compared are two designs on the same ground, "
                    "in interleaved runs: the article's (a thread and 64 KiB for each slot) and ours (one port, a few workers)."),
            wine_table(wine),
            wrapped("Threads and memory are of the process that reads, when all had come. Context switches are those in which "
                    "a thread of the reading or the writing processes went to sleep, as the kernel below Wine counts them; "
                    "those of Wine's server are in neither figure, and what Windows would count cannot be told here."))
    if counts:
        yield from section("Instructions", "`scripts/perf-counts`: under callgrind, system calls not looked into. "
                           f"{counts['circumstances']['compiler']}, `{counts['circumstances']['flags']}`.",
                           counts_table(counts["instructions_per_message"]))


def quotation(results):
    """The lines between the marks in README.md."""
    if "compare" not in results:
        return
    result = results["compare"]
    cells = {(row["peer"], row["size"], row["writers"]): row for row in result["rows"]}
    columns = sorted({(row["size"], row["writers"]) for row in result["rows"] if row["peer"] == "mailroom-ring"})
    yield f"{result['date']}, {machine_text(result['machine'])}; {command(result)}:"
    yield ""
    lines = []
    for peer in ("mailroom-ring", "zeromq", "nats", "seqpacket", "mq", "seed"):
        rows = [cells.get((peer, *column)) for column in columns]
        if any(rows):
            lines.append([peer, *(rate(row["messages_per_second"]) if row else "–" for row in rows)])
    yield from table(["messages/s", *(f"{size_text(size)}, {writers_text(writers)}" for size, writers in columns)], lines)


# ---------------------------------------------------------------------------------------------------- files

def gnuplot_version(svg):
    match = re.search(r"GNUPLOT [\w. ]*", svg)
    return match.group(0) if match else ""


def produce(root, bench, target):
    """Writes the document and the drawings below `target`; returns README.md's new text, or None where it quotes nothing."""
    directory = os.path.join(root, "bench", "results")
    results = load(directory)
    if not results:
        sys.exit("report: bench/results is empty: scripts/report --measure")
    counts = {}
    if os.path.exists(os.path.join(directory, "counts.json")):
        with open(os.path.join(directory, "counts.json"), encoding="utf-8") as file:
            counts = json.load(file)
    drawings = os.path.join(target, "performance")
    os.makedirs(drawings, exist_ok=True)
    # compare and writers draw the same kind of lines: the later file's points stand where both have one.
    paths = [os.path.join(directory, name + ".json") for name in sorted(results, key=lambda name: name == "compare") if name != "wine"]
    if paths:
        run = subprocess.run([bench, "plot", drawings, *paths], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"report: mailroom-bench plot: {run.stderr.strip()}")
    known = {name for name, _ in DRAWINGS}
    for path in glob.glob(os.path.join(drawings, "*")):
        name, extension = os.path.splitext(os.path.basename(path))
        if extension != ".svg" or name not in known:
            os.unlink(path)
    drawn = {os.path.splitext(name)[0] for name in os.listdir(drawings)}
    text = "\n".join(document(results, counts, drawn)) + "\n"
    with open(os.path.join(target, "performance.md"), "w", encoding="utf-8") as file:
        file.write(text)
    for name in drawn:
        if f"](performance/{name}.svg)" not in text:
            os.unlink(os.path.join(drawings, name + ".svg"))
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    if BEGIN not in readme or END not in readme:
        return None
    head, rest = readme.split(BEGIN, 1)
    return f"{head}{BEGIN}\n" + "\n".join(quotation(results)) + f"\n{END}{rest.split(END, 1)[1]}"


def differences(root, target, readme):
    """The files that are not what the results give."""
    found = []

    def text(path):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return None

    docs = os.path.join(root, "docs")
    if text(os.path.join(docs, "performance.md")) != text(os.path.join(target, "performance.md")):
        found.append("docs/performance.md")
    here = set(os.listdir(os.path.join(target, "performance")))
    kept = os.path.join(docs, "performance")
    there = set(os.listdir(kept)) if os.path.isdir(kept) else set()
    for name in sorted(here | there):
        old, new = text(os.path.join(kept, name)), text(os.path.join(target, "performance", name))
        if old is None or new is None:
            found.append(f"docs/performance/{name}")
        elif gnuplot_version(old) != gnuplot_version(new):
            print(f"docs/performance/{name}: drawn by another gnuplot, not compared")
        elif old != new:
            found.append(f"docs/performance/{name}")
    if readme is not None and readme != text(os.path.join(root, "README.md")):
        found.append("README.md")
    return found


def install(root, target, readme):
    docs = os.path.join(root, "docs")
    shutil.rmtree(os.path.join(docs, "performance"), ignore_errors=True)
    shutil.copytree(os.path.join(target, "performance"), os.path.join(docs, "performance"))
    shutil.copy(os.path.join(target, "performance.md"), docs)
    if readme is not None:
        with open(os.path.join(root, "README.md"), "w", encoding="utf-8") as file:
            file.write(readme)
    print("wrote docs/performance.md, docs/performance/" + (" and what README.md quotes" if readme is not None else ""))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    parser.add_argument("--bench", default="mailroom-bench")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for name, full, _ in RESULTS:
            print(f"{name:24} mailroom-bench {full}")
        return 0
    only = set(filter(None, options.only.split(",")))
    if options.measure:
        measure(options.bench, os.path.join(options.root, "bench", "results"), options.quick, only)
    with tempfile.TemporaryDirectory() as target:
        readme = produce(options.root, options.bench, target)
        if not options.check:
            install(options.root, target, readme)
            return 0
        found = differences(options.root, target, readme)
    for name in found:
        print(f"report: {name} is not what bench/results gives: scripts/report")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
