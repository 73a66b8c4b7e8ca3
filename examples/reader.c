/* reader.c: creates the slot "alarms" and prints what arrives, on the workers of a completion port. Enter ends it.
 *
 *     example_reader
 *     mailroom send alarms "door open"       in another terminal
 */
#include <mailroom/mailroom.h>
#include <stdio.h>

static void on_alarm(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) context;
    printf("%u says %.*s\n", message->sender.pid, (int) message->length, (const char *) message->data);
    fflush(stdout);
}

int main(void)
{
    mr_port *port = NULL;
    mr_reader *reader = NULL;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    if (mr_port_open(&port, NULL) != MR_OK) {
        return fprintf(stderr, "no port: %s\n", mr_last_error_text()), 1;
    }
    options.port = port;
    options.on_message = on_alarm;
    if (mr_reader_open(&reader, "alarms", &options) != MR_OK) {
        return fprintf(stderr, "no slot: %s\n", mr_last_error_text()), 1;
    }
    getchar();
    mr_reader_close(reader, NULL);
    return mr_port_close(port) == MR_OK ? 0 : 1;
}
