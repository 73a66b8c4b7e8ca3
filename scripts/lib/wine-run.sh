# shellcheck shell=bash
# wine-run.sh: runs Windows programs in the Wine tree that wine-setup.sh made. Sourced by scripts/wine.
#
# A run has mount and process namespaces of its own: Wine's tree is its root, the machine's files are under /host,
# /tmp and the Wine prefix are private and vanish with the run, and so does every process that it leaves behind. Two
# runs at once, or one that is killed, disturb nobody.
: "${root:?}" "${wine_tree:?}" "${wine_deps:?}"

wine_child=

# wine_enter TREE SCRIPT ARG…: runs SCRIPT TREE ARG… as the first process of new namespaces.
wine_enter()
{
    local tree=$1 script=$2 options status=0
    shift 2
    options=$(wine_namespace_options) || wine_impossible "neither this user nor the kernel allows mount namespaces"
    # In the background and awaited, so that a signal is acted upon at once: unshare itself ignores it.
    # shellcheck disable=SC2086 # a list of words
    unshare $options sh "$script" "$tree" "$@" <&0 &
    wine_child=$!
    trap 'kill -KILL $wine_child 2>/dev/null; exit 130' INT
    trap 'kill -KILL $wine_child 2>/dev/null; exit 143' TERM HUP
    wait "$wine_child" || status=$?
    trap - INT TERM HUP
    return "$status"
}

# wine_run LIMIT PROGRAM ARG…: one program, its output through files, its exit status.
wine_run()
{
    local limit=$1 program status=0 folder
    program=$(realpath -e -- "$2") || return 2
    shift 2
    folder=$(mktemp -d)
    # shellcheck disable=SC2064 # now, not then
    trap "rm -rf '$folder'" EXIT
    wine_enter "$wine_tree" "$root/scripts/lib/wine-inside.sh" run "$limit" "$program" "$@" \
        >"$folder/out" 2>"$folder/err" || status=$?
    cat "$folder/out"
    cat "$folder/err" >&2
    [ "$status" != 124 ] || say "wine: $(basename "$program"): ended after $limit s, the time-out" >&2
    return "$status"
}

# wine_count WORD LINE: the number behind WORD in a runner's last line, "Tested: 3 | Passing: 2 | …"; else 0.
wine_count()
{
    if [[ $2 =~ $1:\ ([0-9]+) ]]; then
        printf '%s\n' "${BASH_REMATCH[1]}"
    else
        printf '0\n'
    fi
}

# wine_report RESULTS PROGRAM…: prints what the programs printed, then the sum. A program that says nothing of its
# tests, or ends badly though all its tests passed, is a failed test itself.
wine_report()
{
    local results=$1 program name line status failures passed=0 failed=0 skipped=0 direct
    shift
    for program in "$@"; do
        name=$(basename "$program" .exe)
        status=$(cat "$results/$name.status" 2>/dev/null || echo none)
        printf -- '-- %s\n' "$name"
        tr -d '\r' <"$results/$name.out" 2>/dev/null || true
        line=$(grep -a -E 'Tested: [0-9]+ \| Passing: [0-9]+' "$results/$name.out" 2>/dev/null | tail -n 1 || true)
        failures=$(wine_count Failing "$line")
        passed=$((passed + $(wine_count Passing "$line")))
        skipped=$((skipped + $(grep -a -c '^\[SKIP\] ' "$results/$name.out" 2>/dev/null || true)))
        if [ -z "$line" ] || { [ "$status" != 0 ] && [ "$failures" = 0 ]; }; then
            say "wine: $name failed: exit status $status${line:+ though its tests passed}"
            failures=$((failures + 1))
        fi
        failed=$((failed + failures))
    done
    direct=$(cat "$results"/*.out 2>/dev/null | grep -a -o 'direct IOCP: [0-9]* of 500 readers' | head -n 1 || true)
    printf 'windows: %s passed, %s failed, %s skipped%s\n' "$passed" "$failed" "$skipped" "${direct:+ ($direct)}"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

# wine_build: builds the preset mingw; prints the compiler's words only where it fails.
wine_build()
{
    local log=$wine_deps/mingw-build.log
    progress "building build/mingw"
    if ! (cd "$root" && cmake --preset mingw && cmake --build build/mingw --parallel "$(nproc)") >"$log" 2>&1; then
        tail -n 40 "$log"
        say "wine: the build for Windows failed, see $log"
        return 1
    fi
}

# What wine_test measures: both designs at 1, 50 and 500 slots, short enough for every run.
wine_bench_arguments=(compare --slots "1,50,500" --writers 2 --sizes 64 --peers "mailroom-native,seed" --messages 2000
    --repeat 1 --no-latency --json)

# wine_bench RESULTS: runs the bench and looks at what it says; RESULTS/bench_compare.out and .status as a test's. Which of the
# two was faster is no matter of the test.
wine_bench()
{
    local results=$1 status=0
    wine_enter "$wine_tree" "$root/scripts/lib/wine-inside.sh" run "${MAILROOM_WINE_LIMIT:-600}" \
        "$root/build/mingw/bin/mailroom-bench.exe" "${wine_bench_arguments[@]}" \
        >"$results/bench_compare.json" 2>"$results/bench_compare.err" </dev/null || status=$?
    {
        cat "$results/bench_compare.err"
        if [ "$status" = 0 ]; then
            python3 -B "$root/scripts/lib/wine_bench.py" "$results/bench_compare.json" || status=$?
        fi
        if [ "$status" = 0 ]; then
            say "[PASS] bench_compare"
            say "Tested: 1 | Passing: 1 | Failing: 0"
        else
            say "[FAIL] bench_compare: mailroom-bench ${wine_bench_arguments[*]}: status $status"
            say "Tested: 1 | Passing: 0 | Failing: 1"
        fi
    } >"$results/bench_compare.out" 2>&1
    printf '%s\n' "$status" >"$results/bench_compare.status"
}

# wine_test NAME…: builds the preset mingw and runs its test programs and the bench (those named, else all).
wine_test()
{
    local name results=$root/build/mingw/wine-results names=("$@") programs=() bench=()
    if ! wine_build; then
        say "windows: 0 passed, 1 failed, 0 skipped"
        return 1
    fi
    if [ ${#names[@]} = 0 ]; then
        mapfile -t names < <(ctest --test-dir "$root/build/mingw" -N | sed -n 's/^ *Test *#[0-9]*: //p')
        names+=(bench_compare)
    fi
    for name in "${names[@]}"; do
        if [ "$name" = bench_compare ]; then
            bench=(bench_compare)
        else
            programs+=("$root/build/mingw/tests/$name.exe")
        fi
    done
    rm -rf "$results"
    mkdir -p "$results"
    progress "running ${#programs[@]} test programs under Wine"
    # Two lanes, each with a Wine of its own, so that names of slots do not meet; whichever is free takes the next.
    local lane lanes=()
    for lane in 1 2; do
        wine_enter "$wine_tree" "$root/scripts/lib/wine-inside.sh" each "${MAILROOM_WINE_LIMIT:-600}" "$results" \
            "${programs[@]}" >"$results/log$lane" 2>&1 </dev/null &
        lanes+=($!)
    done
    for lane in 1 2; do
        if ! wait "${lanes[lane - 1]}"; then
            cat "$results/log$lane" >&2
        fi
    done
    if [ ${#bench[@]} != 0 ]; then
        progress "measuring a little under Wine"
        wine_bench "$results"
    fi
    wine_report "$results" "${programs[@]}" "${bench[@]}"
}
