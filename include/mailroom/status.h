/* mailroom/status.h: the results that Mailroom's functions return.
 *
 * Every function that can fail returns an int: 0 (MR_OK) or one of the negative codes below. Results
 * come through out-parameters, which are left untouched on an error unless the function says otherwise.
 * One table binds each code to its name and its sentence. */
#ifndef MAILROOM_STATUS_H
#define MAILROOM_STATUS_H

#include <stdint.h>

#include <mailroom/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, value, sentence): the value is part of the ABI and never changes its meaning. */
#define MR_STATUS_TABLE(X)                                                                     \
    X(MR_OK, 0, "done")                                                                        \
    X(MR_E_ARGUMENT, -1, "an argument is out of its range")                                    \
    X(MR_E_MEMORY, -2, "out of memory, or at the pool's ceiling")                              \
    X(MR_E_NAME, -3, "not a mailslot name that can be used here")                              \
    X(MR_E_EXISTS, -4, "the name is taken by a live slot")                                     \
    X(MR_E_NO_SLOT, -5, "no such slot")                                                        \
    X(MR_E_ACCESS, -6, "not allowed by the slot, or by the slot directory")                    \
    X(MR_E_OWNER, -7, "the slot belongs to a user whom this writer does not trust")            \
    X(MR_E_TIMEOUT, -8, "the time ran out")                                                    \
    X(MR_E_STOPPED, -9, "stopped by mr_reader_stop, or the object is being closed")            \
    X(MR_E_TOO_BIG, -10, "the message is larger than the slot or the lane takes")              \
    X(MR_E_SMALL, -11, "the buffer is too small; the message stays in the slot")               \
    X(MR_E_FULL, -12, "the queue is full")                                                     \
    X(MR_E_DROPPED, -13, "dropped by the queue's policy, and counted")                         \
    X(MR_E_UNDELIVERED, -14, "closed with messages that did not get across")                   \
    X(MR_E_UNREAD, -15, "closed with messages that nobody had read")                           \
    X(MR_E_MODE, -16, "the reader is read the other way: on_message or read calls, not both")  \
    X(MR_E_CALLBACK, -17, "would wait for itself: not possible inside this object's callback") \
    X(MR_E_FORKED, -18, "this object belongs to the parent process; open another after fork")  \
    X(MR_E_DESCRIPTORS, -19, "the process, or the user's quota, has no descriptor left")       \
    X(MR_E_PROTOCOL, -20, "the other end broke the protocol")                                  \
    X(MR_E_CANCELLED, -21, "the overlapped operation was cancelled")                           \
    X(MR_E_GONE, -22, "the other end has gone")                                                \
    X(MR_E_UNSUPPORTED, -23, "this system cannot do that")                                     \
    X(MR_E_SYSTEM, -24, "a system call failed; see mr_last_os_error")

enum mr_status {
#define MR_STATUS_ENUM(name, value, sentence) name = (value),
    MR_STATUS_TABLE(MR_STATUS_ENUM)
#undef MR_STATUS_ENUM
};

/* The code's name, "MR_E_TIMEOUT" for example; "MR_E_?" for a number that is none. Static text, any thread. */
MR_API const char *mr_status_name(int status);

/* The code's sentence in English, without a full stop. Static text, any thread. */
MR_API const char *mr_status_text(int status);

/* The system's own error code (errno, GetLastError) behind the last error that a Mailroom function returned
 * on this thread; 0 where no system call was to blame. A success leaves it as it was. */
MR_API int64_t mr_last_os_error(void);

/* What the last error that a Mailroom function returned on this thread was about, in one English sentence:
 * what failed, on which name, and what to do. Empty where the status says all. The text belongs to the library and
 * holds until the thread's next call that fails. */
MR_API const char *mr_last_error_text(void);

#ifdef __cplusplus
}
#endif

#endif
