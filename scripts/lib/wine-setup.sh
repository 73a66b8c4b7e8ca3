# shellcheck shell=bash
# wine-setup.sh: brings what building for Windows and running under Wine need. Sourced by scripts/wine.
#
# Every part is made in a folder of its own under a name nobody looks at, and renamed when it is complete: a run that
# is interrupted half-way leaves nothing that a later one takes for finished. One flock guards each place, so that two
# runs do not make the same part twice. A part carries a stamp of everything it was made from; another stamp, another
# part.
: "${root:?}"

wine_cache=${MAILROOM_CACHE:-}
if [ -z "$wine_cache" ]; then
    if [ -n "${XDG_CACHE_HOME:-}" ]; then
        wine_cache=$XDG_CACHE_HOME/mailroom
    elif [ -n "${HOME:-}" ] && [ -d "$HOME" ] && [ -w "$HOME" ]; then
        wine_cache=$HOME/.cache/mailroom
    else
        wine_cache=$root/build/deps/cache
    fi
fi
wine_deps=$root/build/deps
wine_mingw=$wine_deps/mingw

# The suites: Wine 10 is trixie's, mimalloc 2.0.9 is bookworm's (the version that the project is built with on Linux).
wine_suite=trixie
wine_source_suite=bookworm
# What a program without windows, sound and pictures needs of Wine; the rest of its dependencies stays away. FreeType
# above all: where its library is there and no font is, Wine 10 does not start.
wine_packages=(libwine wine64 libz-mingw-w64 libc6 libgcc-s1 libunwind8 liblzma5 zlib1g)
wine_tree=$wine_cache/wine-$wine_suite-3

# Windows programs cannot be run here: one line, and the status that means "skipped".
wine_impossible()
{
    printf 'wine: not possible here: %s\n' "$*" >&2
    if [ "${wine_command:-}" = test ]; then
        say "windows: 0 passed, 0 failed, 1 skipped"
    fi
    exit 77
}

# The address of a Debian mirror, as this machine's own apt configuration gives it.
wine_mirror()
{
    local codename
    if [ -n "${MAILROOM_DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "$MAILROOM_DEBIAN_MIRROR"
        return
    fi
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # $(…) here is apt-get's own notation
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Identifier: Packages' 2>/dev/null |
        awk -v release="$codename" '$2 == release && $3 == "main" && $4 != "Ubuntu" { print $1; exit }'
}

# wine_apt_open FOLDER: makes FOLDER a private apt world and fetches its package lists. Nothing outside is written.
wine_apt_open()
{
    local folder=$1 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(wine_mirror)
    [ -n "$mirror" ] || wine_impossible "no Debian mirror in this machine's apt configuration (set MAILROOM_DEBIAN_MIRROR)"
    [ -r "$keyring" ] || wine_impossible "$keyring is missing: apt-get install debian-archive-keyring"
    rm -rf "$folder"
    mkdir -p "$folder"/{state/lists/partial,cache/archives/partial,empty}
    : >"$folder/state/status"
    # The machine's ways of reaching the network (proxies and the like) are kept, its hooks are not.
    {
        apt-config dump --format '%F "%v";%n' Acquire | grep -v '^Acquire "";'
        cat <<END
Dir::State "$folder/state";
Dir::State::status "$folder/state/status";
Dir::Cache "$folder/cache";
Dir::Etc::SourceList "$folder/sources.list";
Dir::Etc::SourceParts "$folder/empty";
Dir::Etc::Parts "$folder/empty";
Dir::Etc::Main "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "$folder/empty";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
END
    } >"$folder/apt.conf"
    {
        printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$wine_suite"
        printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$wine_source_suite"
    } >"$folder/sources.list"
    APT_CONFIG=$folder/apt.conf apt-get -q -o APT::Update::Error-Mode=any update >"$folder/log" 2>&1 </dev/null ||
        wine_impossible "the Debian mirror does not answer, see $folder/log"
}

# wine_fetch FOLDER apt-get-arguments…: runs apt-get of that private world in the current folder.
wine_fetch()
{
    local folder=$1
    shift
    APT_CONFIG=$folder/apt.conf apt-get -q "$@" >>"$folder/log" 2>&1 </dev/null ||
        wine_impossible "apt-get $* failed, see $folder/log"
}

# A folder that only this run uses, for work in progress beside PLACE (the same file system, so that rename works).
# What interrupted runs left there is removed; the caller holds the lock of PLACE.
wine_staging()
{
    local place=$1
    rm -rf "$place".new-*
    mktemp -d "$place.new-XXXXXX"
}

# wine_publish STAGING PLACE: replaces PLACE by the finished STAGING.
wine_publish()
{
    local staging=$1 place=$2
    chmod 755 "$staging"
    rm -rf "$place.old"
    if [ -e "$place" ]; then
        mv "$place" "$place.old"
    fi
    mv "$staging" "$place"
    rm -rf "$place.old"
}

# ---------------------------------------------------------------------------------------------- 1. the compiler

wine_setup_compiler()
{
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        wine_impossible "this is not a Debian system"
    fi
    # shellcheck disable=SC2046 # a list of words
    (need cmake ninja-build $(packages_for wine)) || wine_impossible "packages are missing, as said above"
}

# ------------------------------------------------------------------------------------- 2. mimalloc for Windows

wine_mimalloc_stamp()
{
    printf 'mimalloc %s, recipe 1, %s\n' "$wine_source_suite" "$(x86_64-w64-mingw32-gcc -dumpfullversion)"
}

wine_mimalloc_build()
{
    local work=$1 log=$1/log
    (cd "$work" && wine_fetch "$work/apt" source --download-only "mimalloc/$wine_source_suite")
    # apt-get has checked the source package against the signed lists; its maker's own key need not be here.
    dpkg-source --no-check -x "$work"/*.dsc "$work/source" >"$log" 2>&1
    # project() names C++, which it does not need.
    cmake -S "$work/source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_SYSTEM_NAME=Windows -DCMAKE_SYSTEM_PROCESSOR=x86_64 \
        -DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc -DCMAKE_CXX_COMPILER=x86_64-w64-mingw32-gcc \
        -DCMAKE_CXX_COMPILER_FORCED=ON -DCMAKE_INSTALL_PREFIX="$work/install" \
        -DMI_BUILD_SHARED=OFF -DMI_BUILD_OBJECT=OFF -DMI_BUILD_TESTS=OFF -DMI_OVERRIDE=OFF \
        -DMI_INSTALL_TOPLEVEL=ON >>"$log" 2>&1 &&
        cmake --build "$work/build" >>"$log" 2>&1 && cmake --install "$work/build" >>"$log" 2>&1
}

# The result is kept in the cache and copied into build/deps, so that a clean clone does not build it again.
wine_setup_mimalloc()
{
    local stamp place
    stamp=$(wine_mimalloc_stamp)
    [ "$(cat "$wine_mingw/stamp" 2>/dev/null)" != "$stamp" ] || return 0
    mkdir -p "$wine_cache" "$wine_deps"
    exec 8>"$wine_cache/mingw.lock" 7>"$wine_deps/mingw.lock"
    flock 8
    flock 7
    place=$wine_cache/mingw
    if [ "$(cat "$place/stamp" 2>/dev/null)" != "$stamp" ]; then
        say "wine: building mimalloc for Windows from Debian's source package"
        local work
        work=$(wine_staging "$place")
        wine_apt_open "$work/apt"
        if ! wine_mimalloc_build "$work"; then
            mv "$work/log" "$wine_deps/mimalloc.log"
            wine_impossible "mimalloc does not build, see $wine_deps/mimalloc.log"
        fi
        printf '%s\n' "$stamp" >"$work/install/stamp"
        wine_publish "$work/install" "$place"
        rm -rf "$work"
    fi
    if [ "$(cat "$wine_mingw/stamp" 2>/dev/null)" != "$stamp" ]; then
        local copy
        copy=$(wine_staging "$wine_mingw")
        cp -a "$place/." "$copy"
        wine_publish "$copy" "$wine_mingw"
    fi
    exec 8>&- 7>&-
}

# ------------------------------------------------------------------------------------------------ 3. Wine 10

# Unpacks the packages into TREE. No maintainer script runs, so no root is needed; what libwine's would do is here.
wine_tree_unpack()
{
    local apt=$1 tree=$2 package windows=$2/usr/lib/x86_64-linux-gnu/wine/x86_64-windows
    mkdir -p "$tree"/usr/{bin,sbin,lib,lib64} "$tree"/{dev,proc,tmp,host,prefix,template,etc}
    ln -s usr/bin "$tree/bin"
    ln -s usr/sbin "$tree/sbin"
    ln -s usr/lib "$tree/lib"
    ln -s usr/lib64 "$tree/lib64"
    mkdir "$apt/debs"
    (cd "$apt/debs" && wine_fetch "$apt" download "${wine_packages[@]/%//$wine_suite}")
    for package in "$apt"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tree" --no-same-owner --keep-directory-symlink \
            --exclude='./usr/share/doc*' --exclude='./usr/share/man*' --exclude='./usr/i686-*' \
            --exclude='./usr/lib/x86_64-linux-gnu/wine/i386-windows'
    done
    cp "$tree/usr/x86_64-w64-mingw32/lib/zlib1.dll" "$windows/"
    # In the package wineserver is a shell script that picks this one.
    ln -sf wineserver64 "$tree/usr/lib/wine/wineserver"
    # A crash shall end the program with its status, not start a debugger that asks.
    rm -f "$windows/winedbg.exe"
    # Debugging information is two thirds of the size, and every prefix holds a copy.
    find "$windows" -type f \( -name '*.dll' -o -name '*.exe' -o -name '*.drv' -o -name '*.sys' \) -print0 |
        xargs -0 x86_64-w64-mingw32-strip --strip-debug
    printf 'mailroom:x:0:0:mailroom:/tmp:/bin/false\n' >"$tree/etc/passwd"
}

# Can this user enter a tree of files as its root at all? Prints the unshare options that do it. The third way is root's
# inside a chroot, where / is no mount point: wine-inside.sh then takes care that no mount is seen outside.
wine_namespace_options()
{
    local options common="--mount --pid --fork --kill-child"
    for options in "$common" "--user --map-root-user $common" "--propagation unchanged $common"; do
        # shellcheck disable=SC2086 # a list of words
        if unshare $options true >/dev/null 2>&1; then
            printf '%s\n' "$options"
            return 0
        fi
    done
    return 1
}

wine_setup_runtime()
{
    [ "$(uname -m)" = x86_64 ] || wine_impossible "Wine runs x86-64 programs on x86-64 machines only"
    command -v unshare >/dev/null || wine_impossible "unshare is missing: apt-get install util-linux"
    wine_namespace_options >/dev/null || wine_impossible "neither this user nor the kernel allows mount namespaces"
    [ ! -e "$wine_tree/complete" ] || return 0
    wine_setup_compiler
    mkdir -p "$wine_cache"
    exec 9>"$wine_cache/wine.lock"
    flock 9
    if [ ! -e "$wine_tree/complete" ]; then
        say "wine: unpacking Wine from Debian $wine_suite into $wine_tree"
        local staging
        staging=$(wine_staging "$wine_tree")
        wine_apt_open "$staging/apt"
        wine_tree_unpack "$staging/apt" "$staging/tree"
        say "wine: making a fresh Wine prefix"
        if ! wine_enter "$staging/tree" "$root/scripts/lib/wine-inside.sh" template >"$staging/log" 2>&1 </dev/null
        then
            mkdir -p "$wine_deps"
            cp "$staging/log" "$wine_deps/wine.log"
            wine_impossible "Wine does not start, see $wine_deps/wine.log"
        fi
        : >"$staging/tree/complete"
        wine_publish "$staging/tree" "$wine_tree"
        rm -rf "$staging"
    fi
    exec 9>&-
}

wine_setup()
{
    wine_setup_compiler
    wine_setup_mimalloc
    wine_setup_runtime
    say "wine: ready: mingw-w64 $(x86_64-w64-mingw32-gcc -dumpfullversion), mimalloc, Wine of $wine_suite"
}
