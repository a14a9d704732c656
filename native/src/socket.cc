// Sockets that Node has no name for (AF_XDP, AF_NETLINK), bpf(2), and ioctl(2): thin, with structs laid out by TypeScript.
#include "linecard.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace linecard {

// Writes addresses into a struct: `pointers` is [[offset in the struct, Uint8Array], …]. The arrays are alive during the call.
static bool WritePointers(const Napi::CallbackInfo& info, size_t index, Bytes target) {
  if (info.Length() <= index || info[index].IsUndefined()) return true;
  if (!info[index].IsArray()) return ThrowRange(info.Env(), "expected pointers as an array"), false;
  const Napi::Array pointers = info[index].As<Napi::Array>();
  for (uint32_t i = 0; i < pointers.Length(); i++) {
    const Napi::Value entry = pointers.Get(i);
    if (!entry.IsArray()) return ThrowRange(info.Env(), "expected a pointer as [offset, bytes]"), false;
    const Napi::Value at = entry.As<Napi::Array>().Get(0u);
    const auto bytes = BytesOf(info.Env(), entry.As<Napi::Array>().Get(1u));
    if (!bytes) return false;
    const int64_t offset = at.IsNumber() ? at.As<Napi::Number>().Int64Value() : -1;
    if (target.length < 8 || offset < 0 || offset > static_cast<int64_t>(target.length) - 8) {
      return ThrowRange(info.Env(), "pointer lies outside the struct"), false;
    }
    const uint64_t address = reinterpret_cast<uintptr_t>(bytes->data);
    std::memcpy(target.data + offset, &address, sizeof address);
  }
  return true;
}

// socket(domain, type, protocol) -> fd, close-on-exec, non-blocking.
static Napi::Value Socket(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto domain = Unsigned(info, 0);
  if (!domain) return env.Undefined();
  const auto type = Unsigned(info, 1);
  if (!type) return env.Undefined();
  const auto protocol = Unsigned(info, 2);
  if (!protocol) return env.Undefined();
  const int fd = socket(static_cast<int>(*domain), static_cast<int>(*type) | SOCK_CLOEXEC | SOCK_NONBLOCK, static_cast<int>(*protocol));
  if (fd < 0) return ThrowErrno(env, "socket", errno), env.Undefined();
  return Napi::Number::New(env, fd);
}

// bind(fd, sockaddr).
static void Bind(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  const auto address = BytesArgument(info, 1);
  if (!address) return;
  if (bind(*fd, reinterpret_cast<sockaddr*>(address->data), static_cast<socklen_t>(address->length)) != 0) {
    ThrowErrno(info.Env(), "bind", errno);
  }
}

// listen(fd, backlog).
static void Listen(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  const auto backlog = Unsigned(info, 1);
  if (!backlog) return;
  if (listen(*fd, static_cast<int>(*backlog)) != 0) ThrowErrno(info.Env(), "listen", errno);
}

// connect(fd, sockaddr).
static void Connect(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  const auto address = BytesArgument(info, 1);
  if (!address) return;
  if (connect(*fd, reinterpret_cast<sockaddr*>(address->data), static_cast<socklen_t>(address->length)) != 0) {
    ThrowErrno(info.Env(), "connect", errno);
  }
}

// setsockopt(fd, level, name, value, pointers?).
static void SetSockOpt(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  const auto level = Unsigned(info, 1);
  if (!level) return;
  const auto name = Unsigned(info, 2);
  if (!name) return;
  const auto value = BytesArgument(info, 3);
  if (!value || !WritePointers(info, 4, *value)) return;
  if (setsockopt(*fd, static_cast<int>(*level), static_cast<int>(*name), value->data, static_cast<socklen_t>(value->length)) != 0) {
    ThrowErrno(info.Env(), "setsockopt", errno);
  }
}

// getsockopt(fd, level, name, value) -> bytes written to `value`.
static Napi::Value GetSockOpt(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto fd = Fd(info, 0);
  if (!fd) return env.Undefined();
  const auto level = Unsigned(info, 1);
  if (!level) return env.Undefined();
  const auto name = Unsigned(info, 2);
  if (!name) return env.Undefined();
  const auto value = BytesArgument(info, 3);
  if (!value) return env.Undefined();
  auto length = static_cast<socklen_t>(value->length);
  if (getsockopt(*fd, static_cast<int>(*level), static_cast<int>(*name), value->data, &length) != 0) {
    return ThrowErrno(env, "getsockopt", errno), env.Undefined();
  }
  return Napi::Number::New(env, length);
}

// send(fd, bytes): one datagram, not blocking.
static void Send(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  const auto bytes = BytesArgument(info, 1);
  if (!bytes) return;
  if (send(*fd, bytes->data, bytes->length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) ThrowErrno(info.Env(), "send", errno);
}

// receive(fd, bytes) -> length of the datagram (which may be more than fitted), or -1 when there is none.
static Napi::Value Receive(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto fd = Fd(info, 0);
  if (!fd) return env.Undefined();
  const auto bytes = BytesArgument(info, 1);
  if (!bytes) return env.Undefined();
  const ssize_t n = recv(*fd, bytes->data, bytes->length, MSG_DONTWAIT | MSG_TRUNC);
  if (n < 0 && errno != EAGAIN && errno != EINTR) return ThrowErrno(env, "recv", errno), env.Undefined();
  return Napi::Number::New(env, static_cast<double>(n));
}

// kickTx(fd) -> 0 or an errno: asks the kernel to send what is in an AF_XDP tx ring. For the data half: never throws.
static Napi::Value KickTx(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const ssize_t n = sendto(fd, nullptr, 0, MSG_DONTWAIT, nullptr, 0);
  return Napi::Number::New(info.Env(), n < 0 ? errno : 0);
}

// kickRx(fd) -> 0 or an errno: lets the kernel fill an AF_XDP rx ring (fill ring wake-up, busy polling). Never throws.
static Napi::Value KickRx(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const ssize_t n = recvfrom(fd, nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
  return Napi::Number::New(info.Env(), n < 0 ? errno : 0);
}

// bpf(command, attr, pointers?) -> the call's result.
static Napi::Value Bpf(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto command = Unsigned(info, 0);
  if (!command) return env.Undefined();
  const auto attr = BytesArgument(info, 1);
  if (!attr || !WritePointers(info, 2, *attr)) return env.Undefined();
  const long result = syscall(SYS_bpf, static_cast<int>(*command), attr->data, static_cast<unsigned>(attr->length));
  if (result < 0) return ThrowErrno(env, "bpf", errno), env.Undefined();
  return Napi::Number::New(env, static_cast<double>(result));
}

// ioctl(fd, request, struct or number, pointers?) -> the call's result.
static Napi::Value Ioctl(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto fd = Fd(info, 0);
  if (!fd) return env.Undefined();
  const auto request = Unsigned(info, 1);
  if (!request) return env.Undefined();
  void* data = nullptr;
  if (info.Length() > 2 && info[2].IsNumber()) {
    const auto value = Unsigned(info, 2);
    if (!value) return env.Undefined();
    data = reinterpret_cast<void*>(static_cast<uintptr_t>(*value));
  } else {
    const auto argument = BytesArgument(info, 2);
    if (!argument || !WritePointers(info, 3, *argument)) return env.Undefined();
    data = argument->data;
  }
  const int result = ioctl(*fd, static_cast<unsigned long>(*request), data);
  if (result < 0) return ThrowErrno(env, "ioctl", errno), env.Undefined();
  return Napi::Number::New(env, result);
}

void AddSocket(Napi::Env env, Napi::Object exports) {
  exports.Set("socket", Napi::Function::New<Socket>(env, "socket"));
  exports.Set("bind", Napi::Function::New<Bind>(env, "bind"));
  exports.Set("listen", Napi::Function::New<Listen>(env, "listen"));
  exports.Set("connect", Napi::Function::New<Connect>(env, "connect"));
  exports.Set("setsockopt", Napi::Function::New<SetSockOpt>(env, "setsockopt"));
  exports.Set("getsockopt", Napi::Function::New<GetSockOpt>(env, "getsockopt"));
  exports.Set("send", Napi::Function::New<Send>(env, "send"));
  exports.Set("receive", Napi::Function::New<Receive>(env, "receive"));
  exports.Set("kickTx", Napi::Function::New<KickTx>(env, "kickTx"));
  exports.Set("kickRx", Napi::Function::New<KickRx>(env, "kickRx"));
  exports.Set("bpf", Napi::Function::New<Bpf>(env, "bpf"));
  exports.Set("ioctl", Napi::Function::New<Ioctl>(env, "ioctl"));
}

}  // namespace linecard
