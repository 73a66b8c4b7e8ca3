/* test_message.c: what a message carries comes back, and any changed byte, length, slot or mixture is seen. */
#include <string.h>

#include "message.h"
#include "test.h"

#define SIZE_MOST 5000u

static const struct message_note sent = {.connection = 4711, .level = 3, .number = 123456789, .time = 987654321};

static void make(struct message_maker *maker, size_t length)
{
    CHECK(message_maker_open(maker, SIZE_MOST));
    message_make(maker, length, 7, &sent);
}

TEST(bench_message, carries_its_note_at_every_length)
{
    for (size_t length = MESSAGE_SHORT; length < SIZE_MOST; length = length < 200 ? length + 1 : length + 97) {
        for (int check = MESSAGE_ALL; check <= MESSAGE_MARKS; check++) {
            struct message_maker maker;
            struct message_note note;
            make(&maker, length);
            CHECK_MSG(message_read(maker.data, length, 7, (enum message_check) check, &note), "length %zu, check %d",
                      length, check);
            CHECK_EQ(note.level, sent.level);
            CHECK_EQ(note.connection, sent.connection);
            CHECK_EQ(note.number, sent.number);
            CHECK_EQ(note.time, length >= MESSAGE_FULL ? sent.time : 0);
            message_maker_close(&maker);
        }
    }
}

TEST(bench_message, one_buffer_serves_all_lengths_in_any_order)
{
    static const size_t lengths[] = {3000, 8, 23, 24, 20, 4999, 12, 64, 1023, 16, 8, 700};
    struct message_maker maker;
    struct message_note note;
    CHECK(message_maker_open(&maker, SIZE_MOST));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct message_note next = sent;
        next.number += i;
        message_make(&maker, lengths[i], 0, &next);
        CHECK_MSG(message_read(maker.data, lengths[i], 0, MESSAGE_ALL, &note), "length %zu", lengths[i]);
        CHECK_EQ(note.number, next.number);
    }
    message_maker_close(&maker);
}

TEST(bench_message, every_changed_byte_is_seen)
{
    static const size_t lengths[] = {24, 25, 64, 505, 509, 512, 513, 1023, 1024};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct message_maker maker;
        struct message_note note;
        make(&maker, lengths[i]);
        for (size_t at = 0; at < lengths[i]; at++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                maker.data[at] = (uint8_t) (maker.data[at] ^ (1u << bit));
                CHECK_MSG(!message_read(maker.data, lengths[i], 7, MESSAGE_ALL, &note), "byte %zu of %zu, bit %u", at,
                          lengths[i], bit);
                maker.data[at] = (uint8_t) (maker.data[at] ^ (1u << bit));
            }
        }
        message_maker_close(&maker);
    }
}

TEST(bench_message, what_is_displaced_is_seen)
{
    struct message_maker maker;
    struct message_note note;
    uint8_t right[4900];
    make(&maker, sizeof(right));
    memcpy(right, maker.data, sizeof(right));
    for (size_t by = 8; by <= 4096; by *= 2) {
        for (size_t at = MESSAGE_FULL; at + by + 8 <= sizeof(right); at += 8) {
            memcpy(maker.data + at, right + at + by, 8);
            CHECK_MSG(!message_read(maker.data, sizeof(right), 7, MESSAGE_ALL, &note), "at %zu, by %zu", at, by);
            memcpy(maker.data + at, right + at, 8);
        }
    }
    CHECK(message_read(maker.data, sizeof(right), 7, MESSAGE_ALL, &note));
    message_maker_close(&maker);
}

TEST(bench_message, another_length_or_slot_is_seen)
{
    struct message_maker maker;
    struct message_note note;
    make(&maker, 100);
    CHECK(message_read(maker.data, 100, 7, MESSAGE_ALL, &note));
    CHECK(!message_read(maker.data, 99, 7, MESSAGE_ALL, &note));
    CHECK(!message_read(maker.data, 96, 7, MESSAGE_ALL, &note));
    CHECK(!message_read(maker.data, 101, 7, MESSAGE_ALL, &note));
    CHECK(!message_read(maker.data, 100, 8, MESSAGE_ALL, &note));
    message_maker_close(&maker);
}

TEST(bench_message, marks_tell_a_head_with_anothers_body)
{
    struct message_maker maker;
    struct message_note note;
    struct message_note other = sent;
    uint8_t body[SIZE_MOST];
    other.number++;
    CHECK(message_maker_open(&maker, SIZE_MOST));
    message_make(&maker, 4096, 7, &other);
    memcpy(body, maker.data, 4096);
    message_make(&maker, 4096, 7, &sent);
    for (size_t cut = 512; cut < 4096; cut += 512) {
        memcpy(body, maker.data, cut);
        CHECK_MSG(!message_read(body, 4096, 7, MESSAGE_MARKS, &note), "%zu bytes of one, the rest of another", cut);
    }
    memcpy(body, maker.data, 4096);
    CHECK(message_read(body, 4096, 7, MESSAGE_MARKS, &note));
    message_maker_close(&maker);
}
