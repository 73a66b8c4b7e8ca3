/* sender.c: the writing end of mailroom send.
 *
 * Path    message ► mr_writer_write_timed, in slices while the slot is full ► log
 *         the end, or a state to be saved ► mr_writer_flush, in slices until all is acknowledged
 * I1      A message is in the log if and only if the library took it: the line is added after the write and is
 *         written out before the program says that it is done.
 * I2      After a sender_flush that succeeded everything is the reader's: acknowledged, where the lane acknowledges.
 * Slices  A blocked write cannot be interrupted, and one that timed out has not sent its message: so a long wait is
 *         made of short writes, and Ctrl-C is answered between them. A flush that timed out can be called again. */
#include "sender.h"

#include <inttypes.h>
#include <stdio.h>

#include <mailroom/status.h>

#include "command.h"
#include "system.h"

#define SLICE_MS       250
#define RETRY_FIRST_MS 10
#define RETRY_LAST_MS  250

int sender_open(struct sender *sender, const struct sender_settings *settings)
{
    *sender = (struct sender){.settings = settings};
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.timeout_ms = SLICE_MS;
    options.linger_ms = 0; /* sender_close has flushed */
    options.reader_uid = settings->reader_uid;
    if (settings->log_path != NULL) {
        if (!output_open(&sender->log, settings->log_path)) {
            return CLI_ERROR;
        }
        sender->logging = true;
        text_printf(&sender->log.text, "# pid %u slot %s\n", system_process_id(), name_short(settings->name));
    }
    int status = mr_writer_open(&sender->writer, settings->name, &options);
    if (status != MR_OK) {
        char about[MR_NAME_MAX + 32];
        snprintf(about, sizeof(about), "cannot send to %s", settings->name);
        if (sender->logging) {
            output_close(&sender->log);
        }
        return fail_status(status, about);
    }
    return CLI_DONE;
}

/* One attempt, waiting for room for at most a slice. */
static int attempt(struct sender *sender, const void *data, size_t length, uint64_t full_deadline)
{
    uint64_t now = system_now();
    uint64_t left = full_deadline > now ? (full_deadline - now + 999999) / 1000000 : 0;
    return mr_writer_write_timed(sender->writer, data, length, sender->settings->priority,
                                 (uint32_t) (left < SLICE_MS ? left : SLICE_MS));
}

static int write_waiting(struct sender *sender, const void *data, size_t length)
{
    const struct sender_settings *settings = sender->settings;
    uint64_t full_deadline = system_deadline(settings->wait_full_ms);
    uint64_t absent_deadline = system_deadline(settings->wait_absent_ms);
    uint64_t retry_ms = RETRY_FIRST_MS;
    for (;;) {
        int status = attempt(sender, data, length, full_deadline);
        if (status == MR_OK || (status != MR_E_TIMEOUT && status != MR_E_NO_SLOT)) {
            return status;
        }
        if (system_now() >= (status == MR_E_TIMEOUT ? full_deadline : absent_deadline)) {
            return status;
        }
        if (system_interrupts() > settings->patience) {
            return MR_E_CANCELLED;
        }
        if (status == MR_E_NO_SLOT) {
            uint64_t now = system_now();
            uint64_t left = absent_deadline == SYSTEM_NEVER ? RETRY_LAST_MS : (absent_deadline - now) / 1000000 + 1;
            system_pause(retry_ms < left ? retry_ms : left);
            retry_ms = retry_ms * 2 < RETRY_LAST_MS ? retry_ms * 2 : RETRY_LAST_MS;
        }
    }
}

static void log_message(struct sender *sender, const void *data, size_t length)
{
    char digest[65];
    system_digest(data, length, digest);
    text_number(&sender->log.text, sender->sent);
    text_putc(&sender->log.text, ' ');
    text_put(&sender->log.text, digest, 64);
    text_putc(&sender->log.text, ' ');
    text_number(&sender->log.text, length);
    text_putc(&sender->log.text, '\n');
    if (sender->log.text.length >= OUTPUT_BATCH) {
        output_flush(&sender->log);
    }
}

int sender_send(struct sender *sender, const void *data, size_t length, bool *skip)
{
    char about[MR_NAME_MAX + 96];
    int status = write_waiting(sender, data, length);
    *skip = false;
    if (status == MR_OK) {
        sender->sent++;
        sender->bytes += length;
        if (sender->logging) {
            log_message(sender, data, length);
        }
        return CLI_DONE;
    }
    if (status == MR_E_CANCELLED) {
        return fail("ended before a message of %zu bytes got into %s", length, sender->settings->name);
    }
    if (status == MR_E_TOO_BIG) {
        sender->skipped++;
        *skip = true;
    }
    snprintf(about, sizeof(about), "a message of %zu bytes was not sent to %s", length, sender->settings->name);
    if (status == MR_E_TIMEOUT) { /* the library knows the last slice only */
        fail("%s: the slot stayed full for %" PRIu64 " ms (MR_E_TIMEOUT)", about, sender->settings->wait_full_ms);
        return CLI_TIMEOUT;
    }
    int code = fail_status(status, about);
    return status == MR_E_TOO_BIG ? CLI_ERROR : code;
}

/* MR_E_CANCELLED: ended by a signal. */
static int flush_waiting(struct sender *sender)
{
    uint64_t deadline = system_deadline(sender->settings->wait_full_ms);
    for (;;) {
        uint64_t now = system_now();
        uint64_t left = deadline > now ? (deadline - now + 999999) / 1000000 : 0;
        int status = mr_writer_flush(sender->writer, (uint32_t) (left < SLICE_MS ? left : SLICE_MS));
        if (status != MR_E_TIMEOUT || system_now() >= deadline) {
            return status;
        }
        if (system_interrupts() > sender->settings->patience) {
            return MR_E_CANCELLED;
        }
    }
}

static uint64_t unacknowledged(struct sender *sender)
{
    mr_writer_statistics statistics = {.size = sizeof(statistics)};
    return mr_writer_get_statistics(sender->writer, &statistics) == MR_OK ? statistics.unacknowledged : 0;
}

int sender_flush(struct sender *sender)
{
    const char *name = sender->settings->name;
    int status = flush_waiting(sender);
    if (status == MR_E_TIMEOUT) { /* the library knows the last slice only */
        fail("%" PRIu64 " of the messages that were sent to %s were not acknowledged within %" PRIu64
             " ms (MR_E_TIMEOUT)",
             unacknowledged(sender), name, sender->settings->wait_full_ms);
        return CLI_TIMEOUT;
    }
    if (status == MR_E_CANCELLED) {
        return fail("ended before %" PRIu64 " of the messages that were sent to %s were acknowledged",
                    unacknowledged(sender), name);
    }
    if (status != MR_OK) {
        return fail_status(status, "what was sent was not all taken");
    }
    if (sender->logging && !output_flush(&sender->log)) {
        return output_result(&sender->log, 0) == CLI_DONE ? CLI_DONE : CLI_ERROR;
    }
    return CLI_DONE;
}

int sender_close(struct sender *sender, int code)
{
    uint64_t undelivered = 0;
    int flushed = sender_flush(sender);
    int status = mr_writer_close(sender->writer, &undelivered);
    if (status != MR_OK && flushed == CLI_DONE) {
        flushed = fail("%" PRIu64 " messages did not get across to %s", undelivered, sender->settings->name);
    }
    if (sender->logging && !output_close(&sender->log)) {
        flushed = CLI_ERROR;
    }
    return code != CLI_DONE ? code : flushed;
}
