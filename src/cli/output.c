/* output.c: standard output or a file, in batches. */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "system.h"

#define STANDARD_OUTPUT 1

bool output_standard(struct output *output)
{
    *output = (struct output){.descriptor = STANDARD_OUTPUT, .path = "standard output"};
    if (!system_is_open(STANDARD_OUTPUT)) {
        fail("standard output is closed; give it a file or a pipe");
        return false;
    }
    return true;
}

bool output_open(struct output *output, const char *path)
{
    if (strcmp(path, "-") == 0) {
        return output_standard(output);
    }
    *output = (struct output){.descriptor = system_create(path, false), .path = path};
    if (output->descriptor < 0) {
        fail("cannot write to %s: %s", path, strerror(errno));
        return false;
    }
    return true;
}

bool output_flush(struct output *output)
{
    if (output->text.failed && output->error == 0) {
        output->error = ENOMEM;
    }
    output->whole = 0;
    if (output->error == 0 && output->text.length > 0) {
        size_t written = 0;
        output->error = system_write(output->descriptor, output->text.data, output->text.length, &written);
        for (size_t i = 0; output->error != 0 && i < written; i++) {
            output->whole += output->text.data[i] == '\n';
        }
    }
    text_clear(&output->text);
    return output->error == 0;
}

bool output_closed(const struct output *output)
{
    return output->error == EPIPE && output->descriptor == STANDARD_OUTPUT;
}

int output_result(const struct output *output, uint64_t unwritten)
{
    if (output->error == 0 || output_closed(output)) {
        return CLI_DONE;
    }
    char messages[64] = "";
    if (unwritten > 0) {
        snprintf(messages, sizeof(messages), "; %" PRIu64 " messages were received but not written", unwritten);
    }
    if (output->error == EINTR) {
        return fail("%s is not read%s", output->path, messages);
    }
    return fail("cannot write to %s: %s%s", output->path, strerror(output->error), messages);
}

bool output_close(struct output *output)
{
    text_free(&output->text);
    int error = output->descriptor > STANDARD_OUTPUT ? system_close(output->descriptor) : 0;
    if (error != 0) {
        fail("cannot finish %s: %s", output->path, strerror(error));
    }
    return error == 0;
}
