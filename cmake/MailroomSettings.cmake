# What every target of the project is compiled with.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")

if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    set(MAILROOM_PLATFORM linux)
elseif(WIN32)
    set(MAILROOM_PLATFORM windows)
else()
    message(FATAL_ERROR "Mailroom runs on Linux and Windows; ${CMAKE_SYSTEM_NAME} has no backend yet "
                        "(src/iocp/backend.h is the contract to implement)")
endif()

get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT multi_config AND NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
endif()

if(NOT DEFINED CMAKE_C_COMPILER_LAUNCHER)
    find_program(MAILROOM_CCACHE ccache)
    mark_as_advanced(MAILROOM_CCACHE)
    if(MAILROOM_CCACHE)
        set(CMAKE_C_COMPILER_LAUNCHER "${MAILROOM_CCACHE}")
    endif()
endif()

# Flags that concern Mailroom's own code only, and never whoever links it.
add_library(mailroom_settings INTERFACE)
if(MSVC)
    # clang-cl, too, which takes the options of Microsoft's compiler
    target_compile_options(mailroom_settings INTERFACE /W3 /utf-8)
    if(CMAKE_C_COMPILER_ID STREQUAL "MSVC")
        # cl.exe has C11's atomics behind this option only
        target_compile_options(mailroom_settings INTERFACE /experimental:c11atomics)
    endif()
else()
    target_compile_options(mailroom_settings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
    if(MAILROOM_WERROR)
        target_compile_options(mailroom_settings INTERFACE -Werror)
    endif()
endif()
if(MAILROOM_PLATFORM STREQUAL "linux")
    target_compile_definitions(mailroom_settings INTERFACE _GNU_SOURCE)
else()
    # Windows 10 is the oldest system served; printf is C11's.
    target_compile_definitions(mailroom_settings INTERFACE _WIN32_WINNT=0x0A00 WIN32_LEAN_AND_MEAN NOMINMAX
                               UNICODE _UNICODE __USE_MINGW_ANSI_STDIO=1)
endif()
if(MAILROOM_SANITIZE)
    set(sanitize -fsanitize=${MAILROOM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_compile_options(mailroom_settings INTERFACE ${sanitize})
    target_link_options(mailroom_settings INTERFACE ${sanitize})
endif()
if(MAILROOM_SYSTEM_ALLOCATOR)
    target_compile_definitions(mailroom_settings INTERFACE MAILROOM_SYSTEM_ALLOCATOR)
endif()

configure_file("${PROJECT_SOURCE_DIR}/cmake/version.h.in" "${PROJECT_BINARY_DIR}/include/mailroom/version.h" @ONLY)
