/* printf_format.h: lets a compiler that can check the arguments of functions that take printf's formats. */
#ifndef QUEUE_PRINTF_FORMAT_H
#define QUEUE_PRINTF_FORMAT_H

#if defined(__MINGW32__) && !defined(__clang__)
/* Its plain "printf" means the formats of an older C. */
#define PRINTF_FORMAT(format_at, arguments_at) __attribute__((format(gnu_printf, format_at, arguments_at)))
#elif defined(__GNUC__)
#define PRINTF_FORMAT(format_at, arguments_at) __attribute__((format(printf, format_at, arguments_at)))
#else
#define PRINTF_FORMAT(format_at, arguments_at)
#endif

#endif
