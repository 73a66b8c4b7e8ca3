"""Results in words: the lines of docs/performance.md, and of what README.md quotes. Every sentence with a figure, or that judges
one, follows from the results. For report.py."""
import math
import textwrap

# Each with the results that it is drawn from: names, or how they begin.
DRAWINGS = [
    ("throughput-by-size-1", "By size, one writer", "compare"), ("throughput-by-size-8", "By size, eight writers", "compare"),
    ("latency-64", "Latency into an idle slot", "compare"),
    ("latency-loaded-64", "Latency under half of the load that it carries", "latency-"),
    ("throughput-by-writers-64", "By number of writers", "writers"), ("throughput-by-slots-64-2", "By number of slots", "slots"),
    ("memory-by-slots", "Memory", "memory-"),
]


def significant(number, digits=3):
    """1234.5 as 1,230; 0.01234 as 0.0123."""
    if number is None:
        return "–"
    if number == 0:
        return "0"
    rounded = float(f"{number:.{digits}g}")
    return f"{rounded:,.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


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


def where_text(row):
    """The load of a comparison's row."""
    slots = f", {row['slots']} slots" if row.get("slots", 1) > 1 else ""
    return f"{size_text(row['size'])}{slots}, {writers_text(row['writers'])}"


def spread(row):
    """The ratio's median, smallest and largest."""
    if row is None or row.get("ratio") is None:
        return "–"
    return f"{significant(row['ratio'])} ({significant(row['ratio_min'])} to {significant(row['ratio_max'])})"


def cells_of(result):
    """By peer and load; a limit, that no writers and slots are to, has its row for any of them."""
    return {(row["peer"], row["size"], row.get("slots", 1), row["writers"]): row for row in result["rows"]}


def cell_of(cells, peer, load):
    return cells.get((peer, *load)) or (cells.get((peer, load[0], 1, 1)) if peer.startswith("limit-") else None)


def loads_of(result):
    return sorted({(row["size"], row.get("slots", 1), row["writers"]) for row in result["rows"]
                   if not row["peer"].startswith("limit-")})


def across(result, head, text, without=()):
    """A table with a line for each peer and a column for each load; text(row) fills it."""
    cells = cells_of(result)
    loads = loads_of(result)
    lines = []
    for peer in in_order(result["rows"], "peer"):
        rows = [cell_of(cells, peer, load) for load in loads]
        line = [text(row) if row else "–" for row in rows]
        if peer not in without and any(cell != "–" for cell in line):
            lines.append([peer, *line])
    names = [where_text({"size": size, "slots": slots, "writers": writers}) for size, slots, writers in loads]
    return table([head, *names], lines)


def compare_tables(result):
    """Two: rates, and ratios."""
    yield from across(result, "messages/s", lambda row: rate(row["messages_per_second"]))
    if any(row.get("ratio") and row["peer"] != "mailroom-ring" for row in result["rows"]):
        yield ""
        yield from wrapped("How many times as much Mailroom's ring carries: the median of the repetitions' own ratios, and in "
                           "parentheses the smallest and the largest of them.")
        yield ""
        yield from across(result, "ring, times", spread, without=("mailroom-ring", *in_order(
            [row for row in result["rows"] if row["peer"].startswith("limit-")], "peer")))


def without_figures(result):
    """Which rows have none, and why."""
    reasons = {}
    for row in result["rows"]:
        for key in ("missing", "unable", "failed"):
            if key in row:
                reasons.setdefault((row["peer"], row[key]), []).append(where_text(row))
    for (peer, reason), where in reasons.items():
        yield from bullet(f"{peer}, {'; '.join(where)}: {reason}")


def percent(part, whole):
    return f"{significant(100 * part / whole, 2)} %" if part is not None and whole else "–"


def bullet(text):
    return textwrap.wrap(text, 118, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def short_table(result):
    """The ring beside the fastest of the others and the article's design, and how much of the limit it reaches."""
    cells = cells_of(result)
    lines = []
    for load in loads_of(result):
        ring, seed, limit = (cell_of(cells, peer, load) for peer in ("mailroom-ring", "seed", "limit-ring"))
        others = [row for row in result["rows"] if (row["size"], row.get("slots", 1), row["writers"]) == load
                  and row.get("ratio") and not row["peer"].startswith(("mailroom-", "limit-"))]
        if not ring or not ring["messages_per_second"] or not others:
            continue
        best = max(others, key=lambda row: row["messages_per_second"])
        lines.append([where_text(ring), rate(ring["messages_per_second"]), best["peer"], spread(best), spread(seed),
                      percent(ring["messages_per_second"], limit["messages_per_second"]) if limit else "–"])
    return table(["one slot", "ring, messages/s", "fastest other", "ring, times that", "times the article's design",
                  "of a ring inside one process"], lines)


def latency_sentence(result):
    """The ring's latency into an idle reader, beside the nearest of the others and the bare wake-up."""
    rows = {row["peer"]: row for row in result["rows"] if row.get("p50_us") is not None and row["writers"] == 1
            and (row["size"] == min(row["size"] for row in result["rows"]) or row["peer"].startswith("limit-"))}
    if "mailroom-ring" not in rows:
        return ""
    others = [f"{peer} {significant(rows[peer]['p50_us'])}" for peer in ("seqpacket", "mq", "zeromq", "nats", "seed")
              if peer in rows]
    wake = rows.get("limit-eventfd-epoll")
    bare = f"the system's bare wake-up {significant(wake['p50_us'])}" if wake else None
    return (f"Into an idle reader a message takes {significant(rows['mailroom-ring']['p50_us'])} µs (p50)"
            + "".join(f"; {text}" for text in (bare, ", ".join(others)) if text) + ".")


def compare_latency_table(result):
    rows = [row for row in result["rows"] if row.get("p50_us") is not None]
    smallest = min((row["size"] for row in rows), default=0)
    return table(["one way, 2,000 messages/s", "p50 µs", "p99 µs"],
                 [[row["peer"], significant(row["p50_us"]), significant(row["p99_us"])] for row in rows
                  if row["writers"] == 1 and (row["size"] == smallest or row["peer"].startswith("limit-"))])


def rows_table(result):
    def line(row):
        text = rate if row["figure"] == "messages_per_second" else lambda us: f"{significant(us)} µs"
        bound = "≥" if row["figure"] == "messages_per_second" else "≤"
        asked = "–" if row["least"] is None else f"{bound} {plain(row['least'])}"
        return [row["title"], row["against"], text(row["value"]), text(row["against_value"]), spread(row), asked,
                f"{bound} {plain(row['aim'])}", {"least": "asked for", "aim": "aim"}.get(row["reached"], row["reached"])]

    return table(["", "against", "ring", "other side", "ratio", "asked for", "aim", "reached"],
                 [line(row) for row in result["rows"] if row["ratio"] is not None])


def of_the_reader(row, counts):
    """What the reader's processor has to do with it: the messages of a slot are one thread's work at a time."""
    if not row.get("reader_busy"):
        return ""
    bounds = [bound for bound in (row["least"], row["aim"]) if bound and bound > row["ratio"]]
    text = (f" The reader's process was at work {percent(row['reader_busy'], 1)} of one processor's time, "
            f"{significant(row['reader_ns'])} ns for a message; {plain(bounds[0])} times would leave it "
            f"{significant(1e9 / (bounds[0] * row['against_value']))} ns.")
    steps = [counts.get(f"{path}-{row['size']}") for path in ("dispatch", "check")]
    if all(steps):
        text += (f" It carries out {significant(steps[0], 4)} instructions of Mailroom's for one, and {significant(steps[1], 4)} "
                 "of the bench's check, which are the same for every peer.")
    return text


def of_the_machine(row, limit, counts):
    """What of an aim for a rate the machine itself allows."""
    wanted = row["aim"] * row["against_value"]
    text = (f"the aim would be {rate(wanted)} messages a second. A ring between two threads of one process that does nothing "
            f"else, and never sleeps, carries {rate(limit)} here (limit-ring, in the comparison)")
    part = percent(row["value"], limit)
    if wanted > limit:
        return f"{text}: the aim is above that, and Mailroom's ring is at {part} of it." + of_the_reader(row, counts)
    text += f", of which Mailroom's is at {part}. The rest goes into what that ring does not do"
    steps = [counts.get(f"{path}-{row['size']}") for path in ("write", "dispatch")]
    if all(steps):
        text += f": {significant(steps[0], 4)} instructions to write a message and {significant(steps[1], 4)} to dispatch it"
    return text + ", and into making and checking each message of the load." + of_the_reader(row, counts)


def of_the_wake_up(row, wake):
    """What of a latency is the system's."""
    wanted = row["aim"] * row["against_value"]
    text = f"the aim would be {significant(wanted)} µs"
    if wake is None:
        return text + "."
    text += (f". The bare wake-up of a thread that waits as the port's workers do takes {significant(wake)} µs "
             "(limit-eventfd-epoll)")
    if wanted < wake:
        return f"{text}: the aim is below that."
    return f"{text}; {significant(max(row['value'] - wake, 0))} µs are what the lane adds to it."


def of_the_slots(row, slots, wake):
    """What grows with the number of slots."""
    text = f"{percent(row['ratio'], 1)} of the rate into one slot."
    lines = {line["slots"]: line for line in (slots or {"rows": []})["rows"]
             if line["peer"] == row["peer"] and line.get("waits_per_message") is not None and line.get("reader_resident")}
    if len(lines) < 2 or wake is None:
        return text
    few, many = min(lines), max(lines)
    each = [1e6 / lines[number]["messages_per_second"] for number in (few, many)]
    waits = lines[many]["waits_per_message"]
    text += (f" By number of slots, below: a message takes {significant(each[0])} µs with {few} of them, and "
             f"{significant(each[1])} µs with {many}. Waking takes about {significant(waits * wake, 2)} µs of that "
             f"({significant(waits, 2)} times {significant(wake)}): ")
    if waits * wake > each[1] / 2:
        return text + "that is what limits it."
    return text + (f"it is not that. The reader's process holds {mebibytes(lines[many]['reader_resident'])} MiB instead of "
                   f"{mebibytes(lines[few]['reader_resident'])}, and messages go through all of it in turn.")


def missed_text(row, limit, wake, slots, counts, processors):
    if row["slots"] > 1:
        return of_the_slots(row, slots, wake)
    if row["figure"] == "p50_us":
        return of_the_wake_up(row, wake)
    if row["figure"] == "p99_us":
        text = (f"{significant(row['value'])} µs instead of {significant(row['against_value'])}. {row['writers']} writers and "
                f"the reader share {processors} processors, and one of the writers never pauses.")
        if row.get("late_p99_us") is None:
            return text
        return (f"{text} The writers that keep time (priority: {row['writers_priority']}) awoke themselves late by "
                f"{significant(row['late_p99_us'])} µs (p99), which is in it.")
    if limit is None or row["against"] == "none more":
        return f"{percent(row['ratio'], 1)} of the other side's rate."
    return of_the_machine(row, limit, counts)


def missed(result, compare, slots, counts):
    """For each row that is short of its aim: what limits it, as far as the results tell."""
    cells = cells_of(compare) if compare else {}
    wakes = [row["against_value"] for row in result["rows"] if row["row"] == "p50-wake"]
    for row in result["rows"]:
        if row["reached"] == "aim" or row["ratio"] is None:
            continue
        limit = cells.get(("limit-ring", row["size"], 1, 1), {}).get("messages_per_second")
        text = missed_text(row, limit, wakes[0] if wakes else None, slots, counts, result["machine"]["processors"])
        at_best = row["ratio_max"] >= row["aim"] if row["figure"] == "messages_per_second" else row["ratio_min"] <= row["aim"]
        yield from bullet(f"{row['title']}, against {row['against']} "
                          f"({'the aim is missed' if row['reached'] == 'least' else 'what is asked for is missed'}): {text}"
                          + (" The best of the repetitions reaches the aim." if at_best else ""))


def latency_table(results):
    lines = []
    for name, result in results.items():
        if name.startswith("latency-"):
            for row in result["rows"]:
                lines.append([f"{row['peer']}, {row.get('part', '')}", rate(row["rate"]),
                              *(significant(row[key]) for key in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us"))])
    return table(["µs", "messages/s", "p50", "p90", "p99", "p99.9", "max"], lines)


def slots_table(result):
    """What each design takes by the number of slots."""
    return table(["", "slots", "messages/s", "ring, times that", "of its rate at one slot", "reader's threads", "reader's MiB",
                  "sleeps in 1,000 messages"], list(slots_lines(result)))


def slots_lines(result):
    cells = cells_of(result)
    for peer in in_order(result["rows"], "peer"):
        for size, slots, writers in loads_of(result):
            row, one = cells.get((peer, size, slots, writers)), cells.get((peer, size, 1, writers))
            if row and row["messages_per_second"]:
                waits = row.get("waits_per_message")
                yield [peer, str(slots), rate(row["messages_per_second"]), spread(row) if peer != "mailroom-ring" else "–",
                       percent(row["messages_per_second"], one["messages_per_second"] if one else None),
                       plain(row.get("reader_threads")), mebibytes(row.get("reader_resident")),
                       significant(waits * 1000 if waits is not None else None, 2)]


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


# Which functions make a stage; what the compiler puts into one function is one stage. The last of each path takes the rest.
STAGES = (
    ("write", "arguments, gate, counters", ("mr_writer_write", "write_unseated", "writer_gate_", "thread_self")),
    ("write", "claim, commit, look at the sleeper; up to 64 B, the copy", ("link_send", "ring_link_send", "send_fast", "ring_claim_anew", "ring_refresh")),
    ("write", "copy", ("__memcpy", "__memmove")),
    ("write", "the caller's loop", ("round_run", "batch_write")),
    ("write", "clock, and the look at the socket when it ticks", ()),
    ("dispatch", "peek, hand over, release, account; up to 64 B, the copy", ("ring_session_serve", "ring_stretch", "level_", "taking_prepare")),
    ("dispatch", "copy", ("__memcpy", "__memmove")),
    ("dispatch", "deliver, but for the user's own", ("reader_deliver", "deliver_")),
    ("dispatch", "the user's callback", ("on_message",)),
    ("dispatch", "clock", ("taking_looks_closer", "clock_", "__vdso", "__clock", "0x")),
    ("dispatch", "turn, harvest, wake-up, sleep: the batch's, in 64", ()),
)


def stages_table(functions):
    lines = []
    for path in dict.fromkeys(stage[0] for stage in STAGES):
        left = {size: dict(functions.get(f"{path}-{size}", {})) for size in (64, 1024)}
        for _, title, prefixes in (stage for stage in STAGES if stage[0] == path):
            cells = []
            for size in (64, 1024):
                names = [name for name in left[size] if not prefixes or name.startswith(prefixes)]
                cells.append(sum(left[size].pop(name) for name in names))
            lines.append([path, title, *(significant(cell, 3) for cell in cells)])
    return table(["", "instructions a message, by stage", "64 B", "1 KiB"], lines)


def stages_sentence(counts):
    """What is the bench's own."""
    figures = counts["instructions_per_message"]
    ours = figures["write-64"] + figures["dispatch-64"]
    bench = figures["make-64"] + figures["check-64"]
    return (f"A message of 64 bytes takes {significant(ours, 3)} instructions of Mailroom's at both ends together, and "
            f"{significant(bench, 2)} of the bench's own, which are the same for every peer.")


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


def circumstances(results):
    """Where and when, and what the machine did meanwhile."""
    dates = sorted({result["date"] for result in results.values()})
    machines = list(dict.fromkeys(machine_text(result["machine"]) for result in results.values()))
    loads = [result["load"] for result in results.values() if result.get("load") is not None]
    text = f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on {'; '.join(machines)}"
    text += ", a virtual machine." if any(result.get("virtual") for result in results.values()) else "."
    if loads:
        text += (f" Before each measurement the load average (1 minute) was {plain(min(loads))} to {plain(max(loads))}; what the "
                 "measurements before it left behind is in it.")
    return text + " Take the ratios, which come from interleaved runs, rather than the absolute figures."


def checked(results):
    """What became of the messages of all rows."""
    rows = [row for result in results.values() for row in result["rows"]]
    wrong = [row for row in rows if any(row.get(key) for key in ("lost", "repeated", "reordered", "garbled"))]
    text = ("Reader and writers are processes. Every message carries its writer, its number and a checksum, and each run counts "
            "what was lost, repeated, out of order or garbled: ")
    if not wrong:
        return f"{text}nothing was, in any of the {len(rows)} rows below."
    return text + "; ".join(f"{row.get('peer', row.get('row'))}, {where_text(row)}: " + ", ".join(
        f"{row[key]:,} {key}" for key in ("lost", "repeated", "reordered", "garbled") if row.get(key)) for row in wrong) + "."


def again(results):
    took = [result.get("seconds") for result in results.values()]
    minutes = f" ({max(1, round(sum(took) / 60))} minutes here)" if all(took) else ""
    return (f"To repeat all of it: `scripts/report --measure`{minutes}. To repeat a figure: the command above it, after "
            "`./scripts/build`, from `build/release/bin`. A drawing: `mailroom-bench plot DIR FILE...`, with what the commands of "
            "its section gave for `--json`. `mailroom-bench peers` says what exactly each peer is, `mailroom-bench COMMAND --help` "
            "what each command does.")


def document(results, counts, drawings):
    """The lines of docs/performance.md."""
    wine = results.get("wine")
    results = {name: result for name, result in results.items() if name != "wine"}
    figures = counts.get("instructions_per_message", {})
    yield "# How fast Mailroom is, and beside what"
    yield ""
    yield "Written by `scripts/report` from [bench/results](../bench/results): change that, not this."
    for text in (circumstances(results), checked(results), again(results)) if results else ():
        yield ""
        yield from wrapped(text)

    def section(title, *content):
        yield ""
        yield f"## {title}"
        for part in content:
            lines = [part] if isinstance(part, str) else list(part)
            if lines:
                yield ""
                yield from lines

    def drawn(*names):
        return [f"![{text}](performance/{name}.svg)" for name, text, _ in DRAWINGS if name in names and name in drawings]

    compare = results.get("compare")
    if compare:
        yield from section("In short", command(compare), short_table(compare), wrapped(latency_sentence(compare)))
        yield from section("Messages a second", command(compare), compare_tables(compare), without_figures(compare),
                           drawn("throughput-by-size-1"), drawn("throughput-by-size-8"))
        yield from section("Latency, beside the peers", command(compare),
                           wrapped("From the moment at which a message was due until the reader has it: one writer, into a reader "
                                   "that sleeps before each."),
                           compare_latency_table(compare), drawn("latency-64"))
    if "rows" in results:
        limits = list(missed(results["rows"], compare, results.get("slots"), figures))
        yield from section("What the ring is held to", command(results["rows"]), rows_table(results["rows"]),
                           "Where an aim is missed, and what limits it:" if limits else "Every aim is reached.", limits)
    latencies = [result for name, result in results.items() if name.startswith("latency-")]
    if latencies:
        yield from section("Latency, idle and loaded", commands(latencies),
                           "`loaded` is half of what half a second flat out has carried.", latency_table(results),
                           drawn("latency-loaded-64"))
    if "writers" in results:
        yield from section("By number of writers", command(results["writers"]), compare_tables(results["writers"]),
                           without_figures(results["writers"]), drawn("throughput-by-writers-64"))
    if "slots" in results:
        yield from section("By number of slots", command(results["slots"]),
                           "Each writer is connected with every slot, and sends 16 messages to one before it goes on to the next.",
                           slots_table(results["slots"]), without_figures(results["slots"]), drawn("throughput-by-slots-64-2"))
    memories = [result for name, result in results.items() if name.startswith("memory-")]
    if memories:
        yield from section("Memory", commands(memories),
                           wrapped("One process writes to all slots. Idle: when all are connected; busy: when each slot has had 100 "
                                   "messages. The last row of each peer has one slot, and a thousand further writers that send "
                                   "nothing."),
                           memory_table(results), drawn("memory-by-slots"))
    if "many" in results:
        row = results["many"]["rows"][0]
        yield from section(f"{row['slots']} slots, {row['writers']} writers", command(results["many"]),
                           f"{rate(row['messages_per_second'])} messages a second; {counted(row)}.")
    if "soak" in results:
        row = results["soak"]["rows"][0]
        tenths = ", ".join(mebibytes(tenth) for tenth in row["memory_tenths"])
        yield from section("For a while", command(results["soak"]),
                           wrapped(f"{counted(row)}. The memory of all processes in the tenths of that time, MiB: {tenths}; "
                                   f"{'it grew' if row['grew'] else 'flat'}."))
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
                           counts_table(figures))
        if counts.get("by_function"):
            yield ""
            yield from stages_table(counts["by_function"])
            yield ""
            yield from wrapped(stages_sentence(counts))


def quotation(results):
    """The lines between the marks in README.md."""
    compare = results.get("compare")
    if compare is None:
        yield "[docs/performance.md](docs/performance.md) has what has been measured."
        return
    yield from wrapped(f"{compare['date']}, {machine_text(compare['machine'])}; {command(compare)}, medians, in parentheses the "
                       "smallest and largest ratio:")
    yield ""
    yield from short_table(compare)
    yield ""
    yield from wrapped(f"{latency_sentence(compare)} All figures, their drawings, and what limits them: "
                       "[docs/performance.md](docs/performance.md).")
