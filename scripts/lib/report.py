"""Measures, and writes docs/performance.md from what was measured. Run by scripts/report, and by the tests with --check.

    report.py [--root DIR] [--bench PROGRAM] [--measure] [--quick] [--only NAME,...] [--check] | --list

bench/results/NAME.json is what the bench printed, with the date and the command line in front. The document and its drawings
follow from these files alone, so that --check can tell whether somebody changed one without the other.
"""
import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from report_text import DRAWINGS, document, quotation

PEERS = "mailroom-ring,mailroom-plain,seqpacket,dgram,pipe,zeromq,nanomsg,seed"

# Two writers, each connected with every slot.
SLOTS = ("compare --sizes 64 --slots 1,10,100,500 --writers 2 --every --no-latency "
         "--peers mailroom-ring,mailroom-plain,seqpacket,zeromq,seed")

# Both designs on mailslots. Run by Wine, its figures stand apart from all others.
WINE = "compare --slots 1,50,500 --writers 2 --sizes 64 --peers mailroom-native,seed --no-latency"

# Name, the arguments for mailroom-bench, and those that take their place with --quick.
RESULTS = [
    ("compare", "compare --seconds 1 --repeat 5", "compare --quick"),
    ("rows", "rows --seconds 1 --repeat 5", "rows --seconds 0.2 --repeat 3"),
    ("writers", f"compare --sizes 64 --writers 1,2,4,8,16,32 --seconds 0.5 --repeat 3 --no-latency --peers {PEERS}",
     "compare --sizes 64 --writers 1,4,16 --seconds 0.1 --repeat 1 --no-latency --peers mailroom-ring,zeromq,seqpacket,seed"),
    ("slots", f"{SLOTS} --seconds 0.5 --repeat 3", f"{SLOTS} --seconds 0.2 --repeat 1"),
    *[(f"latency-{peer}", f"latency --duration 3 --peer {peer}", f"latency --duration 0.5 --peer {peer}")
      for peer in ("mailroom-ring", "mailroom-plain", "seqpacket", "mq", "zeromq", "seed")],
    ("memory-mailroom-ring", "memory --slots 1,10,100,500", "memory --slots 1,10,100"),
    ("memory-seed", "memory --slots 1,10,100,500 --peer seed", "memory --slots 1,10,100 --peer seed"),
    ("many", "throughput --slots 500 --writers 500 --duration 5", "throughput --slots 100 --writers 100 --duration 0.5"),
    ("soak", "soak --duration 60", "soak --duration 5"),
    ("wine", f"{WINE} --messages 10000 --repeat 5", f"{WINE} --messages 2000 --repeat 1"),
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


def machine_is_virtual():
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return any(line.startswith("flags") and " hypervisor" in line for line in file)
    except OSError:
        return False


def measure_one(program, arguments):
    """What is kept of one command: circumstances, then what the bench printed. An exit code instead where it failed."""
    head = {"date": datetime.date.today().isoformat(), "arguments": " ".join(arguments), "virtual": machine_is_virtual(),
            "load": round(os.getloadavg()[0], 2)}
    begun = time.monotonic()
    run = subprocess.run([*program, *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        return run.returncode
    return {**head, "seconds": round(time.monotonic() - begun, 1), **json.loads(run.stdout)}


def measure(bench, results, quick, only):
    os.makedirs(results, exist_ok=True)
    chosen = [entry for entry in RESULTS if not only or entry[0] in only]
    unknown = only - {entry[0] for entry in RESULTS}
    failed = []
    if unknown:
        sys.exit(f"report: no such results: {', '.join(sorted(unknown))} (scripts/report --list)")
    begun = time.monotonic()
    for number, (name, full, short) in enumerate(chosen, 1):
        arguments = (short if quick else full).split()
        print(f"{time.strftime('%H:%M:%S')}  {number} of {len(chosen)}: mailroom-bench {' '.join(arguments)}", flush=True)
        kept = measure_one(wine_program() if name == "wine" else [bench], arguments)
        if name == "wine" and kept == 77:
            print("report: Wine does not run here; its result stays as it is")
        elif isinstance(kept, int):
            print(f"report: it ended with {kept}; its result stays as it is")
            failed.append(name)
        else:
            path = os.path.join(results, name + ".json")
            with open(path + ".new", "w", encoding="utf-8") as file:
                json.dump(kept, file, indent=1)
                file.write("\n")
            os.replace(path + ".new", path)
    print(f"measured in {time.monotonic() - begun:.0f} s")
    if failed:
        sys.exit(f"report: nothing was written, once more: scripts/report --measure --only {','.join(failed)}")


# ---------------------------------------------------------------------------------------------------- files

def gnuplot_version(svg):
    match = re.search(r"GNUPLOT [\w. ]*", svg)
    return match.group(0) if match else ""


def load(results):
    """The results that are there, by name, in the order of RESULTS."""
    found = {}
    for name, _, _ in RESULTS:
        path = os.path.join(results, name + ".json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found[name] = json.load(file)
    return found


def draw(bench, directory, results, target):
    """Draws into the folder `target`; the names of the drawings. Each is drawn from the results of its section alone."""
    drawn = set()
    for source in dict.fromkeys(source for _, _, source in DRAWINGS):
        paths = [os.path.join(directory, name + ".json") for name in results if name == source or
                 (source.endswith("-") and name.startswith(source))]
        if not paths:
            continue
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run([bench, "plot", folder, *paths], capture_output=True, text=True, check=False)
            if run.returncode != 0:
                sys.exit(f"report: mailroom-bench plot: {run.stderr.strip()}")
            for name, _, needed in DRAWINGS:
                path = os.path.join(folder, name + ".svg")
                if needed == source and os.path.exists(path):
                    shutil.copy(path, target)
                    drawn.add(name)
    return drawn


def produce(root, bench, target):
    """Writes the document and the drawings below `target`; returns README.md's new text."""
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
    drawn = draw(bench, directory, results, drawings)
    text = "\n".join(document(results, counts, drawn)) + "\n"
    with open(os.path.join(target, "performance.md"), "w", encoding="utf-8") as file:
        file.write(text)
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    if BEGIN not in readme or END not in readme:
        sys.exit(f"report: README.md lacks the marks between which it quotes: {BEGIN} and {END}")
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
    if readme != text(os.path.join(root, "README.md")):
        found.append("README.md")
    return found


def install(root, target, readme):
    docs = os.path.join(root, "docs")
    shutil.rmtree(os.path.join(docs, "performance"), ignore_errors=True)
    shutil.copytree(os.path.join(target, "performance"), os.path.join(docs, "performance"))
    shutil.copy(os.path.join(target, "performance.md"), docs)
    with open(os.path.join(root, "README.md"), "w", encoding="utf-8") as file:
        file.write(readme)
    print("wrote docs/performance.md, docs/performance/ and what README.md quotes")


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
