/* plain_link_linux.h: a link over the plain lane, behind link_linux.c: backend.h says what each function does. */
#ifndef SLOTS_PLAIN_LINK_LINUX_H
#define SLOTS_PLAIN_LINK_LINUX_H

#include "slots/link_linux.h"

struct plain_link;

/* The link's first member, its name still to be set. */
int plain_link_make(slot_link **out);
/* Ends all but the first member. */
void plain_link_clear(struct plain_link *l, bool in_child);

int plain_link_connect(struct plain_link *l, uint64_t deadline);
bool plain_link_connected(const struct plain_link *l);
void plain_link_disconnect(struct plain_link *l);
size_t plain_link_max_message(const struct plain_link *l);
int plain_link_send(struct plain_link *l, const void *data, size_t length);
int plain_link_wait(struct plain_link *l, uint64_t deadline);
enum started plain_link_watch(struct plain_link *l, port *p, operation *o);

#endif
