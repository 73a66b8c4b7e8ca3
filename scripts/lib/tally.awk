# tally.awk: reads ctest's LastTest.log, prints "passed failed skipped" over the single tests inside the programs.
# A program prints its own counts in Criterion's line ("Synthesis: Tested: N | Passing: N | ..."), and "[SKIP] ..."
# lines. A program that ctest calls failed without a failing test of its own, or that ran no test, counts as one
# failure. Works with any awk.
/^[0-9]+\/[0-9]+ Test(ing)?: / { tested = passing = skips = 0; summed = 0 }
/^\[SKIP\] / { skips++ }
/^\[====\] Synthesis: Tested: / {
    line = $0
    sub(/.*Tested: */, "", line); tested += line + 0
    sub(/.*Passing: */, "", line); passing += line + 0
    summed = 1
}
/^Test (Passed|Failed)\./ {
    bad = tested - passing
    if ($0 !~ /Passed/ && bad == 0) bad = 1
    if ($0 ~ /Passed/ && (!summed || tested + skips == 0)) bad = 1
    passed += passing; failed += bad; skipped += skips
    tested = passing = skips = 0; summed = 0
}
END { printf "%d %d %d\n", passed, failed, skipped }
