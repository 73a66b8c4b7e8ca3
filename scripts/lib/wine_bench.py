"""Looks at what mailroom-bench said under Wine, and prints it as ratios. Run by scripts/wine test.

    wine_bench.py FILE

FILE is one JSON object of `mailroom-bench compare --slots 1,50,500 --peers mailroom-native,seed --json`. Fails where a row is
missing, where a message was lost, repeated, out of order or garbled, or where a thread count cannot be: the article's design
has a thread for each slot, ours has not. Rates are printed and not judged: they are Wine's.
"""
import json
import sys

SLOTS = (1, 50, 500)
PEERS = ("mailroom-native", "seed")
COUNTS = ("lost", "repeated", "reordered", "garbled")
NUMBERS = ("messages_per_second", "ratio", "reader_threads", "reader_resident", "waits_per_message")


def wrong_in(result):
    """What is wrong, a line each."""
    for key, kind in (("system", str), ("processor", str), ("processors", int), ("memory", int)):
        if not isinstance(result.get("machine", {}).get(key), kind):
            yield f"the machine has no {key}"
    if not result.get("machine", {}).get("system", "").startswith("Wine "):
        yield "the machine is not marked as Wine's"
    rows = {(row["peer"], row["slots"]): row for row in result.get("rows", [])}
    for place in ((peer, slots) for peer in PEERS for slots in SLOTS):
        row = rows.pop(place, None)
        if row is None:
            yield f"{place}: no row"
            continue
        for key in COUNTS:
            if row.get(key) != 0:
                yield f"{place}: {key} is {row.get(key)}"
        for key in NUMBERS:
            if not isinstance(row.get(key), (int, float)) or row[key] <= 0:
                yield f"{place}: {key} is {row.get(key)}"
        threads, slots = row.get("reader_threads", 0), place[1]
        if place[0] == "seed" and threads < slots or place[0] != "seed" and threads > 64:
            yield f"{place}: {threads} threads"
    for place in rows:
        yield f"{place}: nobody asked for this row"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    wrong = list(wrong_in(result))
    for line in wrong:
        print(f"bench_compare: {line}")
    if wrong:
        return 1
    rows = {(row["peer"], row["slots"]): row for row in result["rows"]}
    print(f"{result['machine']['system']}: the article's design beside ours (these are Wine's figures, not Windows')")
    for slots in SLOTS:
        ours, seed = rows["mailroom-native", slots], rows["seed", slots]
        print(f"{slots:4} slots: ours carries {seed['ratio']:.2f} x the messages; the article's takes "
              f"{seed['reader_threads'] / ours['reader_threads']:.1f} x the threads "
              f"({seed['reader_threads']} : {ours['reader_threads']}), "
              f"{seed['reader_resident'] / ours['reader_resident']:.1f} x the memory, "
              f"{seed['waits_per_message'] / ours['waits_per_message']:.2f} x the context switches")
    return 0


if __name__ == "__main__":
    sys.exit(main())
