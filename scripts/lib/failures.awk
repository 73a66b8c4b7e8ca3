# failures.awk: reads ctest's LastTest.log, or what scripts/wine test prints (-v wine=1), and prints what each failed
# program said: its name, then its output, the first 20 lines and the last 40 of a long one. Works with any awk.
function told(verdict,    i)
{
    printf "%s: %s\n", name, verdict
    for (i = 1; i <= count; i++) {
        if (count > 60 && i == 21) {
            printf "    ... %d lines ...\n", count - 60
            i = count - 39
        }
        printf "    %s\n", substr(line[i], 1, 300)
    }
    count = 0
}
!wine && /^[0-9]+\/[0-9]+ Testing: / { name = $3; count = 0 }
!wine && /^Output:$/ { inside = 1; next }
!wine && /^<end of output>/ { inside = 0 }
!wine && /^Test / && !/^Test (Passed\.|time)/ { told($0) }
wine && /^-- / { name = $2; count = 0; inside = 1; next }
wine && /^wine: .* failed: / { told($0); next }
wine && /Tested: .* Failing: / && !/Failing: 0( |$)/ { line[++count] = $0; told("failed"); next }
inside && !/^-*$/ && !/^\[(RUN *|PASS)\]/ { line[++count] = $0 }
