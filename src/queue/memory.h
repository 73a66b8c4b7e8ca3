/* memory.h: where the library's memory comes from.
 *
 * mimalloc serves every allocation in src/; a build with MAILROOM_SYSTEM_ALLOCATOR takes the C library's instead,
 * so that sanitizers and valgrind see each block. Memory from here goes back through memory_free, and never to free.
 * A NULL result is an error to be reported as MR_E_MEMORY. Any thread may call these, and free what another
 * allocated. */
#ifndef MAILROOM_QUEUE_MEMORY_H
#define MAILROOM_QUEUE_MEMORY_H

#ifdef MAILROOM_SYSTEM_ALLOCATOR

#include <stdlib.h>
#include <string.h>

#define memory_alloc(size)          malloc(size)
#define memory_zalloc(size)         calloc(1, (size))
#define memory_calloc(count, size)  calloc((count), (size))
#define memory_realloc(block, size) realloc((block), (size))
#define memory_strdup(text)         strdup(text)
#define memory_free(block)          free(block)

/* Aligned blocks: the alignment is a power of two, and the size a multiple of it (C11). */
#define memory_aligned(alignment, size) aligned_alloc((alignment), (size))
#define memory_aligned_free(block)      free(block)

#else

#include <mimalloc.h>

#define memory_alloc(size)          mi_malloc(size)
#define memory_zalloc(size)         mi_zalloc(size)
#define memory_calloc(count, size)  mi_calloc((count), (size))
#define memory_realloc(block, size) mi_realloc((block), (size))
#define memory_strdup(text)         mi_strdup(text)
#define memory_free(block)          mi_free(block)

#define memory_aligned(alignment, size) mi_aligned_alloc((alignment), (size))
#define memory_aligned_free(block)      mi_free(block)

#endif

#endif
