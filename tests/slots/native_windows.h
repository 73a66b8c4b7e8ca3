/* native_windows.h: what the programs and tests that use the system's mailslots directly share: the messages that tell who
 * wrote them, and children. */
#ifndef TEST_SLOTS_NATIVE_WINDOWS_H
#define TEST_SLOTS_NATIVE_WINDOWS_H

#include <stdint.h>

/* What native_writer writes. */
struct native_message {
    uint32_t writer;
    uint32_t slot;
    uint32_t number; /* of this writer to this slot, from 0 */
    uint32_t filler;
};

#endif
