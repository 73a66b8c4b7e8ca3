# cmake --install: headers, libraries, programs, and what find_package and pkg-config need.
