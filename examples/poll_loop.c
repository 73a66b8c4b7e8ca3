/* poll_loop.c: a reader in a poll() loop of one's own: no port, no thread, a descriptor beside all others.
 *
 *     example_poll_loop NAME     prints the messages of the slot NAME; the end of standard input ends it
 *
 * mr_reader_fd is level-triggered, so that libuv, asyncio, GLib and sd-event take it in the same way. */
#include <mailroom/mailroom.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Takes all that is there. False after an error. */
static int read_all(mr_reader *reader, char **buffer, size_t *size)
{
    for (;;) {
        size_t length = 0;
        int status = mr_reader_read(reader, *buffer, *size, &length, 0);
        if (status == MR_E_TIMEOUT) {
            return 1; /* nothing is left: back to poll */
        }
        if (status == MR_E_SMALL) { /* the message stays; `length` is what it needs */
            char *larger = realloc(*buffer, length);
            if (larger == NULL) {
                return 0;
            }
            *buffer = larger;
            *size = length;
            continue;
        }
        if (status != MR_OK) {
            fprintf(stderr, "%s: %s\n", mr_status_text(status), mr_last_error_text());
            return 0;
        }
        printf("%zu bytes: %.*s\n", length, (int) length, *buffer);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    mr_reader *reader = NULL;
    intptr_t descriptor = -1;
    char *buffer = NULL;
    size_t size = 0;
    int good = 1;
    if (argc != 2 || mr_reader_open(&reader, argv[1], NULL) != MR_OK || mr_reader_fd(reader, &descriptor) != MR_OK) {
        fprintf(stderr, "usage: example_poll_loop NAME\n%s\n", mr_last_error_text());
        return 1;
    }
    struct pollfd polled[2] = {{(int) descriptor, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    while (good && poll(polled, 2, -1) > 0) {
        if (polled[0].revents != 0) {
            good = read_all(reader, &buffer, &size);
        }
        char input[256];
        if (polled[1].revents != 0 && read(STDIN_FILENO, input, sizeof(input)) <= 0) {
            break;
        }
    }
    free(buffer);
    mr_reader_close(reader, NULL);
    return good ? 0 : 1;
}
