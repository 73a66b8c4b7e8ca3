# The ways of sending messages that Mailroom is compared with, as the library bench_peers. It names what is missing here: such
# a peer stays in the table, with the package that brings it.
#
# Each is a file, peer_<name>.c, with a variable peer_<name>. peers_linux.c and peers_windows.c list them.

if(MAILROOM_PLATFORM STREQUAL "windows")
    add_library(bench_peers STATIC limit_ring.c peer_seed.c peer_tools.c seed_slot_windows.c)
    target_include_directories(bench_peers PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}")
    target_link_libraries(bench_peers PUBLIC mailroom_internal)
    return()
endif()

set(bench_peer_sources
    limit_ring.c limit_wake_linux.c
    peer_dgram.c peer_mq.c peer_pipe.c peer_seed.c peer_seqpacket.c
    peer_tools.c seed_slot_linux.c socket_linux.c)
set(bench_peer_libraries rt)

# bench_peer(<name> <header> <library> <package> <symbol> [further sources])
macro(bench_peer name header library package symbol)
    find_path(BENCH_${symbol}_INCLUDE ${header})
    find_library(BENCH_${symbol}_LIBRARY ${library})
    mark_as_advanced(BENCH_${symbol}_INCLUDE BENCH_${symbol}_LIBRARY)
    if(BENCH_${symbol}_INCLUDE AND BENCH_${symbol}_LIBRARY)
        list(APPEND bench_peer_sources peer_${name}.c ${ARGN})
        list(APPEND bench_peer_libraries ${BENCH_${symbol}_LIBRARY})
        set_property(SOURCE peer_${name}.c ${ARGN} APPEND PROPERTY INCLUDE_DIRECTORIES ${BENCH_${symbol}_INCLUDE})
    else()
        set(peer_name ${name})
        set(peer_symbol ${name})
        set(peer_missing "the library ${library} was not found when this was built: apt-get install ${package}")
        configure_file(peer_missing.c.in peer_${name}_missing.c @ONLY)
        list(APPEND bench_peer_sources "${CMAKE_CURRENT_BINARY_DIR}/peer_${name}_missing.c")
        message(STATUS "mailroom-bench goes without ${name}: ${peer_missing}")
    endif()
endmacro()

bench_peer(zeromq zmq.h zmq libzmq3-dev ZEROMQ)
# libnng has nanomsg's functions as well, over nng: the one that is linked first provides them (test_peers.c looks which).
bench_peer(nanomsg nanomsg/nn.h nanomsg libnanomsg-dev NANOMSG)
bench_peer(nng nng/nng.h nng libnng-dev NNG)
bench_peer(nats nats/nats.h nats libnats-dev NATS)
bench_peer(jetstream nats/nats.h nats libnats-dev NATS)
if(BENCH_NATS_INCLUDE AND BENCH_NATS_LIBRARY)
    list(APPEND bench_peer_sources nats_end.c nats_service_linux.c)
endif()
list(REMOVE_DUPLICATES bench_peer_libraries)

add_library(bench_peers STATIC ${bench_peer_sources})
target_include_directories(bench_peers PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}")
target_link_libraries(bench_peers PUBLIC mailroom_internal PRIVATE ${bench_peer_libraries})
