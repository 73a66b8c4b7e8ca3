#!/bin/sh
# wine-inside.sh: what happens inside the namespaces. Started by wine_enter (wine-run.sh) as their first process, so
# that every process of Wine, its server and its services included, dies with it.
#
#   wine-inside.sh TREE template                     makes TREE/template, a Wine prefix to copy
#   wine-inside.sh TREE run LIMIT PROGRAM ARG…       runs one program
#   wine-inside.sh TREE each LIMIT RESULTS PROGRAM…  runs each program; RESULTS/NAME.out and RESULTS/NAME.status
# PROGRAM and RESULTS are absolute paths outside; the world outside is /host inside. LIMIT is in seconds per program.
#
# The standard output of a Wine process must be a file: services inherit it, and a pipe would stay open behind the
# program's end.
set -u
tree=$1
mode=$2
shift 2
directory=$PWD

fail()
{
    echo "wine: not possible here: $*" >&2
    exit 77
}

# In a chroot / is no mount point: unshare could not make it private, and a mount below it might be seen outside. A
# mount below /proc, once that is private, is not.
if ! awk '$5 == "/" { found = 1 } END { exit !found }' /proc/self/mountinfo; then
    mount --make-private /proc && mount -t proc proc /proc && mount --bind "$tree" /proc/driver &&
        mount --make-private /proc/driver || fail "cannot mount below /proc"
    tree=/proc/driver
fi
mount --rbind / "$tree/host" || fail "cannot mount inside the namespace"
mount --rbind /dev "$tree/dev" || fail "cannot mount /dev"
mount -t proc proc "$tree/proc" 2>/dev/null || mount --rbind /proc "$tree/proc" || fail "cannot mount /proc"
mount -t tmpfs -o mode=1777 tmpfs "$tree/tmp" || fail "cannot mount a tmpfs"

# inside FOLDER LIMIT COMMAND…: runs COMMAND with TREE as its root, with an environment of Wine's and the test's own.
inside()
{
    folder=$1
    limit=$2
    shift 2
    # shellcheck disable=SC2046 # NAME=VALUE words; the variables of the tests hold no blanks
    env -i $(env | grep -E '^(MR|MAILROOM)_[A-Z_]*=[^[:space:]]*$') PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp \
        USER=mailroom WINEPREFIX=/prefix WINEDEBUG="${MAILROOM_WINEDEBUG:--all}" \
        WINEDLLOVERRIDES='mscoree,mshtml,winedbg.exe,winemenubuilder.exe=d' \
        timeout --kill-after=5 "$limit" unshare --root="$tree" --wd="$folder" "$@"
}

if [ "$mode" = template ]; then
    mount --bind "$tree/template" "$tree/prefix" || fail "cannot mount the prefix"
    inside / 120 /usr/lib/wine/wine64 wineboot --init </dev/null
    inside / 60 /usr/lib/wine/wineserver --wait </dev/null || exit 1
    [ -e "$tree/template/drive_c/windows/system32/kernel32.dll" ] || exit 1
    exit 0
fi

# The prefix is a copy that lives and dies with this run.
mount -t tmpfs -o mode=0700 tmpfs "$tree/prefix" || fail "cannot mount a tmpfs"
cp -a "$tree/template/." "$tree/prefix" || fail "cannot copy the Wine prefix"
# For user32.dll, which the console's host needs.
cp "$tree/usr/x86_64-w64-mingw32/lib/zlib1.dll" "$tree/prefix/drive_c/windows/system32/" || fail "cannot copy zlib1.dll"
# The server and the services come up first and stay, so that what they say is not mixed into the programs' output.
inside / 60 /usr/lib/wine/wineserver --persistent </dev/null >/dev/null 2>&1
inside / 60 /usr/lib/wine/wine64 /usr/lib/x86_64-linux-gnu/wine/x86_64-windows/hostname.exe </dev/null >/dev/null 2>&1 || fail "Wine does not start (status $?)"

case $mode in
run)
    limit=$1
    program=$2
    shift 2
    inside "/host$directory" "$limit" /usr/lib/wine/wine64 "/host$program" "$@"
    exit $?
    ;;
each)
    limit=$1
    results=$2
    shift 2
    for program in "$@"; do
        name=$(basename "$program" .exe)
        mkdir "$results/$name.taken" 2>/dev/null || continue # another lane has it
        inside "/host$directory" "$limit" /usr/lib/wine/wine64 "/host$program" </dev/null >"$results/$name.out" 2>&1
        echo $? >"$results/$name.status"
    done
    exit 0
    ;;
*)
    fail "unknown mode $mode"
    ;;
esac
