// File descriptors: eventfds, socket pairs, copies, locks, closing.
#include "linecard.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

namespace linecard {

// eventfd() -> fd, non-blocking, close-on-exec.
static Napi::Value EventFd(const Napi::CallbackInfo& info) {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return ThrowErrno(info.Env(), "eventfd", errno), info.Env().Undefined();
  return Napi::Number::New(info.Env(), fd);
}

// See native/index.ts.
constexpr int kInterruptLine = 1 << 30;

// Clears bit 10 of the command register, by the byte that it is in: bus master is in the other one, and another thread may
// be switching it. Nothing is said of failure: a device that is not there any more does not interrupt.
static void LetLineRise(int config) {
  constexpr off_t kCommandHigh = 5;
  constexpr uint8_t kDisable = 1 << 2;
  uint8_t byte = 0;
  if (pread(config, &byte, 1, kCommandHigh) != 1 || byte == 0xff) return;
  byte = static_cast<uint8_t>(byte & ~kDisable);
  if (pwrite(config, &byte, 1, kCommandHigh) != 1) return;
}

// notify(fd): adds 1 to an eventfd, or lets an interrupt line rise again. A full counter (EAGAIN) is as good as a signal: the reader is awake by then.
static void Notify(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  if (*fd >= kInterruptLine) return LetLineRise(*fd - kInterruptLine);
  const uint64_t one = 1;
  if (write(*fd, &one, sizeof one) < 0 && errno != EAGAIN) ThrowErrno(info.Env(), "write", errno);
}

// readNow(fd, bytes) -> how many bytes came, or a negative errno. Of files that do not block. Never throws: an exception costs
// more than the call, and mostly there is nothing.
static Napi::Value ReadNow(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return info.Env().Undefined();
  const auto bytes = BytesArgument(info, 1);
  if (!bytes) return info.Env().Undefined();
  const ssize_t n = read(*fd, bytes->data, bytes->length);
  return Napi::Number::New(info.Env(), static_cast<double>(n < 0 ? -errno : n));
}

// close(fd): the caller is the fd's one owner.
static void Close(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  // Not repeated on EINTR: Linux has released the number by then, and somebody else may have it.
  if (fd && close(*fd) != 0 && errno != EINTR) ThrowErrno(info.Env(), "close", errno);
}

// flock(fd, shared = false): an advisory lock, at once or not at all (errno EWOULDBLOCK). Held until the file is closed.
static void Flock(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  const int kind = info.Length() > 1 && info[1].ToBoolean() ? LOCK_SH : LOCK_EX;
  if (flock(*fd, kind | LOCK_NB) != 0) ThrowErrno(info.Env(), "flock", errno);
}

// socketPair() -> two fds of connected unix stream sockets, non-blocking, close-on-exec.
static Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
    return ThrowErrno(info.Env(), "socketpair", errno), info.Env().Undefined();
  }
  Napi::Array pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0u, Napi::Number::New(info.Env(), fds[0]));
  pair.Set(1u, Napi::Number::New(info.Env(), fds[1]));
  return pair;
}

// replaceFd(fd, by): from now on `fd` means what `by` means, in one step: whoever uses the number meanwhile finds either.
static void ReplaceFd(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  const auto by = Fd(info, 1);
  if (by && dup3(*by, *fd, O_CLOEXEC) < 0) ThrowErrno(info.Env(), "dup3", errno);
}

// setNonblocking(fd): for whoever else has the same open file too.
static void SetNonblocking(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  const int flags = fcntl(*fd, F_GETFL);
  if (flags < 0 || fcntl(*fd, F_SETFL, flags | O_NONBLOCK) != 0) ThrowErrno(info.Env(), "fcntl(F_SETFL)", errno);
}

void AddFiles(Napi::Env env, Napi::Object exports) {
  exports.Set("eventfd", Napi::Function::New<EventFd>(env, "eventfd"));
  exports.Set("notify", Napi::Function::New<Notify>(env, "notify"));
  exports.Set("readNow", Napi::Function::New<ReadNow>(env, "readNow"));
  exports.Set("socketPair", Napi::Function::New<SocketPair>(env, "socketPair"));
  exports.Set("replaceFd", Napi::Function::New<ReplaceFd>(env, "replaceFd"));
  exports.Set("setNonblocking", Napi::Function::New<SetNonblocking>(env, "setNonblocking"));
  exports.Set("close", Napi::Function::New<Close>(env, "close"));
  exports.Set("flock", Napi::Function::New<Flock>(env, "flock"));
}

}  // namespace linecard
