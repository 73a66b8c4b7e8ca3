# What has to be there before anything is compiled. Each missing part is named with the package that brings it.

# mailroom_need(<found> <what> <Debian package> <elsewhere>): ends the configuration with a remedy.
function(mailroom_need found what package elsewhere)
    if(NOT found)
        message(FATAL_ERROR "${what} is missing.\n"
                "On Debian and Ubuntu:  apt-get install ${package}\n"
                "Elsewhere:  ${elsewhere}\n"
                "scripts/build installs everything that is needed by itself.")
    endif()
endfunction()

if(MAILROOM_PLATFORM STREQUAL "linux")
    set(THREADS_PREFER_PTHREAD_FLAG ON)
    find_package(Threads REQUIRED)
    find_package(PkgConfig QUIET)
    mailroom_need("${PkgConfig_FOUND}" "pkg-config" pkg-config "https://www.freedesktop.org/wiki/Software/pkg-config/")
    pkg_check_modules(UTF8PROC QUIET IMPORTED_TARGET libutf8proc)
    mailroom_need("${UTF8PROC_FOUND}" "utf8proc (case folding of names)" libutf8proc-dev
                  "https://github.com/JuliaStrings/utf8proc")
    pkg_check_modules(MD QUIET IMPORTED_TARGET libmd)
    mailroom_need("${MD_FOUND}" "libmd (SHA-256, for mailroom send --log)" libmd-dev "https://www.hadrons.org/software/libmd/")
endif()

if(MSVC)
    # mingw-w64 has it in its C library.
    find_path(MAILROOM_GETOPT_INCLUDE getopt.h)
    find_library(MAILROOM_GETOPT_LIBRARY getopt)
    if(NOT MAILROOM_GETOPT_INCLUDE OR NOT MAILROOM_GETOPT_LIBRARY)
        mailroom_need(FALSE "getopt_long" "none" "vcpkg install getopt")
    endif()
endif()

if(NOT MAILROOM_SYSTEM_ALLOCATOR)
    find_package(mimalloc QUIET)
    if(MAILROOM_PLATFORM STREQUAL "windows")
        mailroom_need("${mimalloc_FOUND}" "mimalloc for Windows" "none: scripts/wine builds it from Debian's source"
                      "vcpkg install mimalloc")
        if(TARGET mimalloc-static)
            set(MAILROOM_MIMALLOC mimalloc-static)
        else()
            set(MAILROOM_MIMALLOC mimalloc)
        endif()
    else()
        mailroom_need("${mimalloc_FOUND}" "mimalloc" libmimalloc-dev
                      "https://github.com/microsoft/mimalloc, or -DMAILROOM_SYSTEM_ALLOCATOR=ON")
        set(MAILROOM_MIMALLOC mimalloc)
    endif()
endif()

set(MAILROOM_RUNNER "${MAILROOM_TEST_RUNNER}")
if(MAILROOM_TESTS AND NOT MAILROOM_RUNNER STREQUAL "plain")
    if(MAILROOM_PLATFORM STREQUAL "linux")
        pkg_check_modules(CRITERION QUIET IMPORTED_TARGET criterion)
    endif()
    if(CRITERION_FOUND)
        set(MAILROOM_RUNNER criterion)
    elseif(MAILROOM_RUNNER STREQUAL "criterion")
        mailroom_need(FALSE "Criterion" libcriterion-dev "https://github.com/Snaipe/Criterion, or -DMAILROOM_TEST_RUNNER=plain")
    else()
        message(STATUS "Criterion is not here (Debian: libcriterion-dev): the tests use the plain runner, which covers the same")
        set(MAILROOM_RUNNER plain)
    endif()
endif()
