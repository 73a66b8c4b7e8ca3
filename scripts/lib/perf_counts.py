"""Compares callgrind's counts with those that the repository keeps. Run by scripts/perf-counts:

    perf_counts.py show|check|update DIRECTORY BUILD KEPT

DIRECTORY has callgrind's dumps (out.*) and `messages`, a line "name count" for each figure. BUILD is a CMake build folder: its
compiler, and the libraries here, go with the figures, because counts of two compilers say nothing of each other.
"""
import glob
import json
import os
import platform
import re
import subprocess
import sys

ALLOWED = 1.10
STAGED = ("write-64", "dispatch-64", "write-1024", "dispatch-1024")


def figures(directory):
    """Instructions per message, by name."""
    with open(os.path.join(directory, "messages"), encoding="ascii") as file:
        messages = {name: int(count) for name, count in (line.split() for line in file)}
    result = {}
    for path in glob.glob(os.path.join(directory, "out*")):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        trigger = re.search(r"^desc: Trigger: Client Request: (\S+)$", text, re.M)
        total = re.search(r"^totals: (\d+)$", text, re.M)
        if trigger and total:
            result[trigger.group(1)] = round(int(total.group(1)) / messages[trigger.group(1)], 1)
    missing = sorted(set(messages) - set(result))
    if missing or not result:
        sys.exit(f"perf-counts: callgrind gave no figure for {', '.join(missing) or 'anything'}")
    empty = sorted(name for name, figure in result.items() if figure <= 0)
    if empty:
        sys.exit(f"perf-counts: nothing was counted for {', '.join(empty)}")
    return {name: result[name] for name in messages}


def by_function(directory):
    """Of each figure in STAGED, the instructions that each function itself takes per message, the largest first."""
    with open(os.path.join(directory, "messages"), encoding="ascii") as file:
        messages = {name: int(count) for name, count in (line.split() for line in file)}
    texts = []
    for path in glob.glob(os.path.join(directory, "out*")):
        with open(path, encoding="utf-8", errors="replace") as file:
            texts.append(file.read())
    # A number stands for the name that it was given with, perhaps in another of the dumps.
    names = dict(pair for text in texts for pair in re.findall(r"^c?fn=\((\d+)\) (\S+)$", text, re.M))
    result = {}
    for text in texts:
        trigger = re.search(r"^desc: Trigger: Client Request: (\S+)$", text, re.M)
        if not trigger or trigger.group(1) not in STAGED or trigger.group(1) not in messages:
            continue
        costs, function, called = {}, None, False
        for line in text.splitlines():
            begin = re.match(r"fn=\((\d+)\)", line)
            if begin:
                function = names.get(begin.group(1), "?").partition(".")[0].partition("@")[0].partition("'")[0]
            elif line.startswith("calls="):
                called = True  # the next line is what the called function took
            elif function and re.match(r"[-+*\d]", line):
                if not called:
                    costs[function] = costs.get(function, 0) + int(line.split()[1])
                called = False
        each = {name: round(cost / messages[trigger.group(1)], 1) for name, cost in costs.items()}
        result[trigger.group(1)] = {name: each[name] for name in sorted(each, key=lambda name: (-each[name], name)) if each[name] >= 0.1}
    return {name: result[name] for name in STAGED if result.get(name)}


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        sys.exit(f"perf-counts: {' '.join(command)}: {error}")


def processor_features():
    """Of what callgrind passes on, the features by which the C library chooses its memory functions."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            flags = next((line.split(":", 1)[1].split() for line in file if line.startswith(("flags", "Features"))), [])
    except OSError:
        flags = []
    return " ".join(name for name in ("sse4_2", "avx", "avx2", "bmi2") if name in flags)


def circumstances(build):
    """What the counts depend on besides the source."""
    with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as file:
        cache = dict(re.findall(r"^(\w+):\w+=(.*)$", file.read(), re.M))
    flags = f"{cache.get('CMAKE_C_FLAGS', '')} {cache.get('CMAKE_C_FLAGS_' + cache['CMAKE_BUILD_TYPE'].upper(), '')}"
    # Without the name by which it was called, which differs for the same one: "cc (Debian …) 12.2.0".
    compiler = first_line([cache["CMAKE_C_COMPILER"], "--version"]).partition(" ")[2]
    return {
        "compiler": f"gcc {compiler}" if compiler.startswith("(") else compiler,
        "flags": " ".join(flags.split()),
        "machine": platform.machine(),
        "processor": processor_features(),
        "libc": first_line(["ldd", "--version"]).partition(" ")[2],
        "valgrind": first_line(["valgrind", "--version"]),
    }


def compare(new, kept):
    """Prints a table; the names of the figures that have risen too far."""
    risen = []
    print(f"{'instructions per message':28} {'kept':>9} {'now':>9} {'change':>8}")
    for name, figure in new.items():
        old = kept.get(name)
        change = f"{100 * (figure / old - 1):+.1f} %" if old else "new"
        print(f"{name:28} {old if old else '-':>9} {figure:>9} {change:>8}")
        if old and figure > old * ALLOWED:
            risen.append(name)
    for name in kept:
        if name not in new:
            print(f"{name:28} {kept[name]:>9} {'gone':>9}")
    return risen


def main(mode, directory, build, path):
    new = figures(directory)
    here = circumstances(build)
    kept = {"circumstances": {}, "instructions_per_message": {}}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
    risen = compare(new, kept["instructions_per_message"])
    if mode == "update":
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"circumstances": here, "instructions_per_message": new, "by_function": by_function(directory)}, file,
                      indent=4)
            file.write("\n")
        print(f"kept in {path}")
        return 0
    if mode == "check" and set(kept["instructions_per_message"]) != set(new):
        print(f"perf-counts: {path} has not these figures: scripts/perf-counts --update, and commit it")
        return 1
    other = {key: (kept["circumstances"].get(key), value) for key, value in here.items()
             if kept["circumstances"].get(key) != value}
    if other:
        for key, (old, value) in other.items():
            print(f"not comparable: {key} was {old}, here it is {value}")
        return 0
    if risen:
        print(f"perf-counts: more than {round(100 * (ALLOWED - 1))} % above what is kept: {', '.join(risen)}")
        print("Find out why; where it is worth it: scripts/perf-counts --update, and commit it with the reason")
        return 1 if mode == "check" else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
