/* mailroom/export.h: what makes a function part of the public interface. */
#ifndef MAILROOM_EXPORT_H
#define MAILROOM_EXPORT_H

#if defined(MAILROOM_STATIC)
#define MR_API
#elif defined(_WIN32)
#if defined(MAILROOM_BUILDING)
#define MR_API __declspec(dllexport)
#else
#define MR_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define MR_API __attribute__((visibility("default")))
#else
#define MR_API
#endif

/* Put before a declaration whose result may not be ignored. */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define MR_NODISCARD [[nodiscard]]
#elif defined(__GNUC__)
#define MR_NODISCARD __attribute__((warn_unused_result))
#elif defined(_MSC_VER)
#define MR_NODISCARD _Check_return_
#else
#define MR_NODISCARD
#endif

#endif
