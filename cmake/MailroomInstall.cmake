# cmake --install: headers, both libraries, the program, and what find_package and pkg-config need.
include(CMakePackageConfigHelpers)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/mailroom" "${PROJECT_BINARY_DIR}/include/mailroom"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/mailroom")
install(TARGETS mailroom_static EXPORT mailroom-static ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT mailroom-static NAMESPACE mailroom:: FILE mailroom-static.cmake DESTINATION "${package_dir}")
if(TARGET mailroom)
    install(TARGETS mailroom EXPORT mailroom-shared
            LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
    install(EXPORT mailroom-shared NAMESPACE mailroom:: FILE mailroom-shared.cmake DESTINATION "${package_dir}")
endif()
if(TARGET mailroom_program)
    install(TARGETS mailroom_program RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/mailroom-config.cmake.in"
                              "${PROJECT_BINARY_DIR}/mailroom-config.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/mailroom-config-version.cmake"
                                 VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/mailroom-config.cmake" "${PROJECT_BINARY_DIR}/mailroom-config-version.cmake"
        DESTINATION "${package_dir}")

# mailroom.pc finds itself through ${pcfiledir}, so that an installed tree can be moved.
set(pc_private "")
if(MAILROOM_MIMALLOC)
    string(APPEND pc_private " -lmimalloc")
endif()
if(MAILROOM_PLATFORM STREQUAL "linux")
    string(APPEND pc_private " -pthread")
    set(pc_requires "libutf8proc")
endif()
file(RELATIVE_PATH pc_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/mailroom.pc.in" "${PROJECT_BINARY_DIR}/mailroom.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/mailroom.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

if(MAILROOM_PLATFORM STREQUAL "linux")
    # The machine-wide slot directory, made at boot.
    install(FILES "${PROJECT_SOURCE_DIR}/cmake/mailroom.tmpfiles.conf" DESTINATION lib/tmpfiles.d RENAME mailroom.conf)
endif()
