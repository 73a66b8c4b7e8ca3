/* mailroom/mailroom.h: the whole public interface of Mailroom. */
#ifndef MAILROOM_MAILROOM_H
#define MAILROOM_MAILROOM_H

#include <mailroom/directory.h>
#include <mailroom/export.h>
#include <mailroom/message.h>
#include <mailroom/port.h>
#include <mailroom/reader.h>
#include <mailroom/status.h>
#include <mailroom/version.h>
#include <mailroom/writer.h>

#endif
