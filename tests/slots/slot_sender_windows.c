/* slot_sender_windows.c: another Mailroom program, which writes.
 *
 *     slot_sender NAME NORMAL URGENT
 *
 * writes NORMAL numbers at MR_NORMAL, then URGENT numbers at MR_URGENT, and ends. Exit status 0, or a status negated. */
#include <stdint.h>
#include <stdlib.h>

#include <mailroom/mailroom.h>

int main(int argc, char **argv)
{
    mr_writer *writer = NULL;
    if (argc != 4)
        return 87;
    int status = mr_writer_open(&writer, argv[1], NULL);
    for (uint32_t i = 0; status == MR_OK && i < (uint32_t) atoi(argv[2]); i++)
        status = mr_writer_write(writer, &i, sizeof i, MR_NORMAL);
    for (uint32_t i = 0; status == MR_OK && i < (uint32_t) atoi(argv[3]); i++)
        status = mr_writer_write(writer, &i, sizeof i, MR_URGENT);
    int closed = mr_writer_close(writer, NULL);
    return -(status != MR_OK ? status : closed);
}
