// Shared by the addon's files: one function per concern that adds its exports, and how a system call's failure is told.
#pragma once

#include <napi.h>

#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <optional>

namespace linecard {

// What one thread (environment) has of its own: where `clock` and `utc` put their results, and what keeps that alive.
struct PerThread {
  uint32_t* clock = nullptr;
  Napi::ObjectReference words;
};

void AddMapping(Napi::Env env, Napi::Object exports);
void AddFiles(Napi::Env env, Napi::Object exports);
void AddWait(Napi::Env env, Napi::Object exports);
void AddThread(Napi::Env env, Napi::Object exports);
void AddSocket(Napi::Env env, Napi::Object exports);
void AddUnixSocket(Napi::Env env, Napi::Object exports);
void AddPeer(Napi::Env env, Napi::Object exports);

// Throws an Error with `syscall`, `errno` (negative, as libuv has it) and the text of errno.
void ThrowErrno(Napi::Env env, const char* syscall, int error);
// Throws a RangeError: the caller broke this façade's contract.
void ThrowRange(Napi::Env env, const char* message);

// A non-negative integer argument up to 2^53, or nothing (and an exception pending).
std::optional<uint64_t> Unsigned(const Napi::CallbackInfo& info, size_t index);
// A file descriptor argument. Checked at full width: 2^32 must not become 0.
std::optional<int> Fd(const Napi::CallbackInfo& info, size_t index);

// The memory of a Uint8Array: an argument's, or another value's. Valid for the length of the call.
struct Bytes {
  uint8_t* data;
  size_t length;
};
std::optional<Bytes> BytesOf(Napi::Env env, napi_value value);
std::optional<Bytes> BytesArgument(const Napi::CallbackInfo& info, size_t index);

// A range of the arena, checked: inside the (shared) array, and whole 4 KiB pages of memory.
struct Range {
  uint8_t* address;
  size_t length;
};
std::optional<Range> PageRange(const Napi::CallbackInfo& info);

// Puts zeroed anonymous memory over the range. False leaves errno.
bool Anonymous(const Range& range);
// Maps `fd` over the range; returns 0 or the error (ENXIO: part of it lies beyond the file's end), and leaves no hole.
int MapOver(const Range& range, int prot, int fd, off_t offset, bool populate);

}  // namespace linecard
