/* list.c: mailroom list: which slots there are and how they are doing, from their statistics pages.
 * A frozen owner is listed all the same. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <mailroom/directory.h>

#include "command.h"
#include "output.h"
#include "queue/memory.h"
#include "system.h"

static const char help[] =
    "usage: mailroom list [--json | --writers]\n"
    "\n"
    "Lists the live slots that this user can see: name, owner's process and user, messages that wait in the reader,\n"
    "size of the next one, open connections, messages taken so far, messages dropped, and the most that ever waited.\n"
    "The figures come from a page that the owner publishes, so a frozen owner is listed with its last ones.\n"
    "\n"
    "  --writers   instead a line for each slot's busiest writers (at most 14 a slot): process, user, lane, messages and\n"
    "              bytes taken from it, bytes it has committed that wait, the most that ever waited, times that it waited\n"
    "              itself, messages that it dropped, and messages taken and not acknowledged. Who floods is on top\n"
    "  --json      one JSON object a line: slot, directory, pid, uid, user, readable, and where readable is true\n"
    "              max_message, waiting, waiting_bytes, next_size (null: nothing waits), waiting_peak, messages,\n"
    "              bytes, dropped, refused, connections, rings, dropped_by_writers, redelivered, unacknowledged,\n"
    "              waits, doorbells, writers_total, and writers: an array with the figures of --writers\n"
    "  -h, --help  this text\n"
    "\n"
    "On Windows uid and user are null, and the slots of other programs are listed by name where the system tells them.\n"
    "\n"
    "Exit codes: 0 done (also when there is no slot), 1 error, 2 usage.\n";

#define COLUMNS 11 /* at most */

struct row {
    char *cells[COLUMNS];
};

struct listing {
    bool json;
    bool writers;
    struct output output;
    struct text cell;
    struct row *rows;
    size_t count;
    bool failed;
};

static void put_figure(struct text *text, const char *key, uint64_t value)
{
    text_printf(text, ",\"%s\":%" PRIu64, key, value);
}

/* A writer's identity has 64 bits, more than many readers of JSON keep: it is a string of digits. */
static void put_writers(struct text *text, const mr_slot_entry *entry)
{
    put_figure(text, "writers_total", entry->writers_total);
    text_puts(text, ",\"writers\":[");
    for (size_t i = 0; i < entry->writer_count; i++) {
        const mr_reader_writer *w = &entry->writers[i];
        text_printf(text, "%s{\"writer\":\"%" PRIu64 "\",\"lane\":\"%s\"", i == 0 ? "" : ",", w->sender.writer,
                    mr_lane_name(w->lane));
        put_figure(text, "pid", w->sender.pid);
        put_figure(text, "uid", w->sender.uid);
        put_figure(text, "gid", w->sender.gid);
        put_figure(text, "messages", w->messages);
        put_figure(text, "bytes", w->bytes);
        put_figure(text, "waiting", w->waiting);
        put_figure(text, "waiting_peak", w->waiting_peak);
        put_figure(text, "waits", w->waits);
        put_figure(text, "doorbells", w->doorbells);
        put_figure(text, "dropped", w->dropped);
        put_figure(text, "unacknowledged", w->unacknowledged);
        text_puts(text, w->gone ? ",\"gone\":true}" : ",\"gone\":false}");
    }
    text_putc(text, ']');
}

static int visit_json(const mr_slot_entry *entry, void *context)
{
    struct listing *listing = context;
    struct text *text = &listing->output.text;
    const char *name = name_short(entry->name);
    char user[256];
    system_user_name(entry->uid, user, sizeof(user));
    text_puts(text, "{\"slot\":");
    text_json_string(text, name, strlen(name));
    text_puts(text, ",\"directory\":");
    if (utf8_valid(entry->directory, strlen(entry->directory))) {
        text_json_string(text, entry->directory, strlen(entry->directory));
    } else {
        text_puts(text, "null");
    }
    put_figure(text, "pid", entry->pid);
    if (entry->uid == UINT32_MAX) {
        text_puts(text, ",\"uid\":null,\"user\":null"); /* users have no numbers here */
    } else {
        put_figure(text, "uid", entry->uid);
        text_puts(text, ",\"user\":");
        text_json_string(text, user, strlen(user));
    }
    text_puts(text, entry->readable ? ",\"readable\":true" : ",\"readable\":false");
    if (entry->readable) {
        put_figure(text, "max_message", entry->max_message);
        put_figure(text, "waiting", entry->waiting);
        put_figure(text, "waiting_bytes", entry->waiting_bytes);
        if (entry->next_size == UINT64_MAX) {
            text_puts(text, ",\"next_size\":null");
        } else {
            put_figure(text, "next_size", entry->next_size);
        }
        put_figure(text, "waiting_peak", entry->waiting_peak);
        put_figure(text, "messages", entry->messages);
        put_figure(text, "bytes", entry->bytes);
        put_figure(text, "dropped", entry->dropped);
        put_figure(text, "refused", entry->refused);
        put_figure(text, "connections", entry->connections);
        put_figure(text, "rings", entry->rings);
        put_figure(text, "dropped_by_writers", entry->dropped_by_writers);
        put_figure(text, "redelivered", entry->redelivered);
        put_figure(text, "unacknowledged", entry->unacknowledged);
        put_figure(text, "waits", entry->waits);
        put_figure(text, "doorbells", entry->doorbells);
        put_writers(text, entry);
    }
    text_puts(text, "}\n");
    return output_flush(&listing->output) ? 0 : 1;
}

/* The cell's text, kept until the table is printed. */
static char *keep_cell(struct listing *listing)
{
    text_putc(&listing->cell, '\0');
    char *kept = listing->cell.failed ? NULL : memory_strdup(listing->cell.data);
    text_clear(&listing->cell);
    listing->failed |= kept == NULL;
    return kept;
}

static char *number_cell(struct listing *listing, bool known, uint64_t number)
{
    if (known) {
        text_number(&listing->cell, number);
    } else {
        text_putc(&listing->cell, '-');
    }
    return keep_cell(listing);
}

static char *text_cell(struct listing *listing, const char *text)
{
    text_escaped(&listing->cell, text, strlen(text));
    return keep_cell(listing);
}

static char *user_cell(struct listing *listing, uint32_t uid)
{
    char user[256];
    system_user_name(uid, user, sizeof(user));
    return text_cell(listing, user);
}

/* NULL: out of memory, and said so. */
static struct row *add_row(struct listing *listing)
{
    struct row *rows = memory_realloc(listing->rows, (listing->count + 1) * sizeof(*rows));
    if (rows == NULL) {
        listing->failed = true;
        return NULL;
    }
    listing->rows = rows;
    struct row *row = &rows[listing->count++];
    *row = (struct row){0};
    return row;
}

static int visit_writers(const mr_slot_entry *entry, void *context)
{
    struct listing *listing = context;
    for (size_t i = 0; i < entry->writer_count; i++) {
        const mr_reader_writer *w = &entry->writers[i];
        struct row *row = add_row(listing);
        if (row == NULL) {
            return 1;
        }
        char *const cells[] = {text_cell(listing, name_short(entry->name)),
                               number_cell(listing, true, w->sender.pid),
                               user_cell(listing, w->sender.uid),
                               text_cell(listing, mr_lane_name(w->lane)),
                               number_cell(listing, true, w->messages),
                               number_cell(listing, true, w->bytes),
                               number_cell(listing, w->lane == MR_LANE_RING, w->waiting),
                               number_cell(listing, w->lane == MR_LANE_RING, w->waiting_peak),
                               number_cell(listing, w->lane == MR_LANE_RING, w->waits),
                               number_cell(listing, w->lane == MR_LANE_RING, w->dropped),
                               number_cell(listing, w->lane == MR_LANE_RING, w->unacknowledged)};
        memcpy(row->cells, cells, sizeof(cells));
    }
    return listing->failed ? 1 : 0;
}

static int visit_table(const mr_slot_entry *entry, void *context)
{
    struct listing *listing = context;
    struct row *row = add_row(listing);
    if (row == NULL) {
        return 1;
    }
    const char *name = name_short(entry->name);
    bool known = entry->readable != 0;
    row->cells[0] = text_cell(listing, name);
    row->cells[1] = number_cell(listing, true, entry->pid);
    row->cells[2] = user_cell(listing, entry->uid);
    row->cells[3] = number_cell(listing, known, entry->waiting);
    row->cells[4] = number_cell(listing, known && entry->next_size != UINT64_MAX, entry->next_size);
    row->cells[5] = number_cell(listing, known, entry->connections);
    row->cells[6] = number_cell(listing, known, entry->messages);
    row->cells[7] = number_cell(listing, known, entry->dropped);
    row->cells[8] = number_cell(listing, known, entry->waiting_peak);
    return listing->failed ? 1 : 0;
}

static void put_row(struct text *text, const struct row *row, const size_t *widths, size_t columns)
{
    for (size_t i = 0; i < columns; i++) {
        size_t blanks = widths[i] - text_width(row->cells[i], strlen(row->cells[i]));
        bool left = i == 0 || i == 2 || (columns == COLUMNS && i == 3);
        text_puts(text, i == 0 ? "" : "  ");
        for (size_t j = 0; !left && j < blanks; j++) {
            text_putc(text, ' ');
        }
        text_puts(text, row->cells[i]);
        for (size_t j = 0; left && j < blanks; j++) {
            text_putc(text, ' ');
        }
    }
    text_putc(text, '\n');
}

static void put_table(struct listing *listing)
{
    static char *const slots[] = {"NAME",        "PID",      "USER",    "WAITING", "NEXT",
                                  "CONNECTIONS", "MESSAGES", "DROPPED", "PEAK"};
    static char *const writers[] = {"NAME",    "PID",  "USER",  "LANE",    "MESSAGES",      "BYTES",
                                    "WAITING", "PEAK", "WAITS", "DROPPED", "UNACKNOWLEDGED"};
    char *const *titles = listing->writers ? writers : slots;
    size_t columns = listing->writers ? sizeof(writers) / sizeof(*writers) : sizeof(slots) / sizeof(*slots);
    struct row head;
    size_t widths[COLUMNS];
    for (size_t i = 0; i < columns; i++) {
        head.cells[i] = titles[i];
        widths[i] = strlen(titles[i]);
        for (size_t j = 0; j < listing->count; j++) {
            size_t width = text_width(listing->rows[j].cells[i], strlen(listing->rows[j].cells[i]));
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    put_row(&listing->output.text, &head, widths, columns);
    for (size_t j = 0; j < listing->count; j++) {
        put_row(&listing->output.text, &listing->rows[j], widths, columns);
    }
}

static int list_slots(struct listing *listing)
{
    int status = mr_slots_list(listing->json ? visit_json : listing->writers ? visit_writers : visit_table, listing);
    if (status != MR_OK) {
        return fail_status(status, "cannot list the slots");
    }
    if (listing->failed) {
        return fail("out of memory");
    }
    if (!listing->json) {
        put_table(listing);
        output_flush(&listing->output);
    }
    return output_result(&listing->output, 0);
}

static int run(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"writers", no_argument, NULL, 'w'}, OPTION_HELP, {NULL, 0, NULL, 0}};
    struct listing listing = {0};
    int option;
    while ((option = option_next(&command_list, argc, argv, options)) != -1) {
        if (option != 'j' && option != 'w') {
            return option == 'h' ? CLI_DONE : CLI_USAGE;
        }
        listing.json |= option == 'j';
        listing.writers |= option == 'w';
    }
    if (listing.json && listing.writers) {
        return fail_usage("list", "--json tells of the writers already, without --writers");
    }
    if (optind < argc) {
        return fail_usage("list", "'%s' is one argument too many; it lists every slot", argv[optind]);
    }
    if (!output_standard(&listing.output)) {
        return CLI_ERROR;
    }
    int code = list_slots(&listing);
    for (size_t j = 0; j < listing.count; j++) {
        for (size_t i = 0; i < COLUMNS; i++) {
            memory_free(listing.rows[j].cells[i]);
        }
    }
    memory_free(listing.rows);
    text_free(&listing.cell);
    output_close(&listing.output);
    return code;
}

const struct command command_list = {"list", "list the live slots and how they are doing", help, run};
