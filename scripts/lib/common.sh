# common.sh: what all scripts share. Source it first:
#     . "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck shell=bash

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # used by the scripts that source this file
build="$root/build"
# shellcheck disable=SC2034
jobs=$(nproc 2>/dev/null || echo 2)

# The compiler's cache does not start without a name for the home folder, and not every user has one, or may write there.
if [ -z "${CCACHE_DIR:-}" ] && { [ -z "${HOME:-}" ] || [ ! -d "$HOME" ] || [ ! -w "$HOME" ]; }; then
    export HOME=${HOME:-/nonexistent} CCACHE_DIR=$build/ccache
fi

say()
{
    printf '%s\n' "$*"
}

# A step inside a script, with the time of day so that a long one can be told from a hung one.
progress()
{
    printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"
}

die()
{
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The packages of the given purposes, as scripts/lib/packages lists them.
packages_for()
{
    local purpose
    for purpose in "$@"; do
        grep -q "^$purpose: " "$root/scripts/lib/packages" || die "scripts/lib/packages has no purpose $purpose"
        sed -n "s/^$purpose: //p" "$root/scripts/lib/packages"
    done | tr '\n' ' '
}

package_present()
{
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Runs apt-get as root, asks no question, leaves the configuration of apt alone.
apt_as_root()
{
    local -a as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo -n)
    fi
    # Waits for another apt run instead of failing beside it.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -y -q "$@" </dev/null
}

# Sets `missing` to those of the packages that are not installed, each once.
find_missing()
{
    local package
    missing=()
    for package in "$@"; do
        case " ${missing[*]} " in
        *" $package "*) ;;
        *) package_present "$package" || missing+=("$package") ;;
        esac
    done
}

# The purposes that later steps of the same run have packages for, so that one message names all of them.
later_purposes=()

# need PACKAGE...: installs those that are missing, in one go. Silent, and no root needed, when all are there.
need()
{
    local become="sudo sh -c"
    local -a missing=()
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system: these packages' counterparts are taken to be installed: $*"
        return 0
    fi
    find_missing "$@"
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ] && ! { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; then
        # shellcheck disable=SC2046 # a list of names
        find_missing "$@" $([ ${#later_purposes[@]} = 0 ] || packages_for "${later_purposes[@]}")
        command -v sudo >/dev/null || become="su - -c"
        die "packages are missing, and installing them takes root. Type this, and then the same command again:
    $become 'apt-get update && apt-get install -y --no-install-recommends ${missing[*]}'"
    fi
    mkdir -p "$root/build/logs"
    local log="$root/build/logs/apt.log"
    progress "installing with apt: ${missing[*]}"
    if ! apt_as_root install --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
        # Package lists that are absent or too old are the usual reason.
        progress "refreshing apt's package lists"
        if ! { apt_as_root update && apt_as_root install --no-install-recommends "${missing[@]}"; } >>"$log" 2>&1; then
            tail -n 20 "$log" >&2
            die "apt could not install: ${missing[*]} (all it said is in $log)"
        fi
    fi
}

# need_for PURPOSE...: the same for whole purposes.
need_for()
{
    local list
    list=$(packages_for "$@")
    # shellcheck disable=SC2086 # a list of names
    need $list
}
