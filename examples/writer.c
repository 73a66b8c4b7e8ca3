/* writer.c: sends its arguments to the slot "alarms", one message each, and an urgent one at the end.
 *
 *     example_writer "door open" "door closed"
 */
#include <mailroom/mailroom.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    mr_writer *writer = NULL;
    int status = mr_writer_open(&writer, "alarms", NULL);
    for (int i = 1; status == MR_OK && i < argc; i++) {
        status = mr_writer_write(writer, argv[i], strlen(argv[i]), MR_NORMAL); /* handed over, or an error */
    }
    if (status == MR_OK) {
        status = mr_writer_post(writer, "fire", 4, MR_URGENT, NULL, NULL); /* queued: a worker sends it */
    }
    if (status == MR_OK) {
        status = mr_writer_flush(writer, 1000); /* milliseconds */
    }
    if (status != MR_OK) {
        fprintf(stderr, "%s: %s\n", mr_status_text(status), mr_last_error_text());
    }
    mr_writer_close(writer, NULL);
    return status == MR_OK ? 0 : 1;
}
