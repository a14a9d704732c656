// A connected or listening unix socket that carries file descriptors (unix(7), SCM_RIGHTS), watched by the event loop.
//
// Watching is libuv's uv_poll on the loop that Node-API hands out: no thread, no queue between threads, and what happens
// after close() is simply never called. The eight functions are declared here, since uv.h is not in node-api-headers:
// the handle is opaque (uv_handle_size), and names, numbers and signatures are libuv 1's ABI, the same in Node 20 to 26.
#include "linecard.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

struct uv_poll_s;
struct uv_handle_s;

extern "C" {
size_t uv_handle_size(int type);
const char* uv_handle_type_name(int type);
int uv_poll_init(uv_loop_s* loop, uv_poll_s* handle, int fd);
int uv_poll_start(uv_poll_s* handle, int events, void (*callback)(uv_poll_s*, int status, int events));
int uv_poll_stop(uv_poll_s* handle);
void uv_close(uv_handle_s* handle, void (*callback)(uv_handle_s*));
void* uv_handle_get_data(const uv_handle_s* handle);
void uv_handle_set_data(uv_handle_s* handle, void* data);
}

namespace linecard {

constexpr int kUvPoll = 8;
constexpr uint64_t kReadable = 1, kWritable = 2, kDisconnect = 4;
constexpr int kMostFds = 253;  // SCM_MAX_FD: the kernel's limit per message
// What receive() returns instead of a length.
constexpr int kNothing = -1, kFdsLost = -2, kRecordCut = -3;

// Received fds; whatever was not released is closed.
struct ReceivedFds {
  int fds[kMostFds];
  int count = 0;

  ~ReceivedFds() {
    for (int i = 0; i < count; i++) close(fds[i]);
  }

  void Collect(msghdr* message) {
    for (cmsghdr* c = CMSG_FIRSTHDR(message); c != nullptr; c = CMSG_NXTHDR(message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < n && count < kMostFds; i++) std::memcpy(&fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
  }
};

class UnixSocket : public Napi::ObjectWrap<UnixSocket> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit UnixSocket(const Napi::CallbackInfo& info);
  ~UnixSocket() override { Shut(); }

 private:
  // The loop's handle, apart from the object: libuv needs it until its close callback, the object may be gone by then.
  struct Watch {
    UnixSocket* owner;
    napi_async_cleanup_hook_handle hook;
    alignas(std::max_align_t) uint8_t handle[1];

    uv_poll_s* Poll() { return reinterpret_cast<uv_poll_s*>(handle); }
    uv_handle_s* Handle() { return reinterpret_cast<uv_handle_s*>(handle); }
  };

  bool IsOpen(Napi::Env env);
  bool MakeWatch(Napi::Env env);
  void Shut();
  bool Call(double events);
  static void OnEvent(uv_poll_s* poll, int status, int events);
  static void OnClosed(uv_handle_s* handle);
  static void OnCleanup(napi_async_cleanup_hook_handle, void* watch);

  Napi::Value Accept(const Napi::CallbackInfo& info);
  Napi::Value Send(const Napi::CallbackInfo& info);
  Napi::Value Receive(const Napi::CallbackInfo& info);
  void SetWatch(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info) { Shut(); }

  int fd_ = -1;
  Watch* watch_ = nullptr;
  bool watching_ = false;
  Napi::FunctionReference callback_;
};

// new UnixSocket(fd): takes the fd over, unless it throws.
UnixSocket::UnixSocket(const Napi::CallbackInfo& info) : Napi::ObjectWrap<UnixSocket>(info) {
  const auto fd = Fd(info, 0);
  if (!fd) return;
  int domain = 0;
  socklen_t length = sizeof domain;
  if (getsockopt(*fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) {
    ThrowErrno(info.Env(), "getsockopt", errno);
  } else if (domain != AF_UNIX) {
    ThrowRange(info.Env(), "expected a unix socket");
  } else if (fcntl(*fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(*fd, F_SETFL, O_NONBLOCK) != 0) {
    ThrowErrno(info.Env(), "fcntl", errno);
  } else {
    fd_ = *fd;
  }
}

bool UnixSocket::IsOpen(Napi::Env env) {
  if (fd_ < 0) ThrowErrno(env, "close", EBADF);
  return fd_ >= 0;
}

// accept() -> fd of the next connection, the caller's, or -1 when there is none.
Napi::Value UnixSocket::Accept(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!IsOpen(env)) return env.Undefined();
  const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  // Who has gone again before being accepted is nobody: the caller is asked to try once more by the next event.
  if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
    return ThrowErrno(env, "accept4", errno), env.Undefined();
  }
  return Napi::Number::New(env, fd < 0 ? kNothing : fd);
}

// The numbers of an Int32Array.
static bool IntsOf(const Napi::CallbackInfo& info, size_t index, int32_t** data, size_t* length) {
  napi_typedarray_type type;
  bool typed = false;
  if (info.Length() > index && napi_is_typedarray(info.Env(), info[index], &typed) == napi_ok && typed &&
      napi_get_typedarray_info(info.Env(), info[index], &type, length, reinterpret_cast<void**>(data), nullptr, nullptr) == napi_ok &&
      type == napi_int32_array) {
    return true;
  }
  ThrowRange(info.Env(), "expected an Int32Array");
  return false;
}

// send(bytes, fds) -> how many bytes went, -1 when none can now. The fds stay the caller's; they go with the first byte.
Napi::Value UnixSocket::Send(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto bytes = BytesArgument(info, 0);
  int32_t* fds = nullptr;
  size_t count = 0;
  if (!bytes || !IntsOf(info, 1, &fds, &count) || !IsOpen(env)) return env.Undefined();
  if (bytes->length == 0) return ThrowRange(env, "expected at least one byte"), env.Undefined();
  if (count > kMostFds) return ThrowRange(env, "expected at most 253 fds"), env.Undefined();
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int) * kMostFds)] = {};
  iovec part{bytes->data, bytes->length};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * count);
    std::memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
  }
  const ssize_t n = sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EINTR) return ThrowErrno(env, "sendmsg", errno), env.Undefined();
  return Napi::Number::New(env, static_cast<double>(n));
}

// receive(bytes, fds) -> length, 0 at the end of the stream, or kNothing, kFdsLost, kRecordCut. fds[0] becomes the number
// of fds that came, fds[1…] are they: close-on-exec, the caller's. Where something was cut, all that came are closed.
Napi::Value UnixSocket::Receive(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto bytes = BytesArgument(info, 0);
  int32_t* fds = nullptr;
  size_t room = 0;
  if (!bytes || !IntsOf(info, 1, &fds, &room) || !IsOpen(env)) return env.Undefined();
  if (bytes->length == 0 || room == 0) return ThrowRange(env, "expected room for at least one byte"), env.Undefined();
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int) * kMostFds)];
  iovec part{bytes->data, bytes->length};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && errno != EAGAIN && errno != EINTR) return ThrowErrno(env, "recvmsg", errno), env.Undefined();
  fds[0] = 0;
  if (n < 0) return Napi::Number::New(env, kNothing);
  // Before anything else is looked at: from here on they are closed unless they are handed over.
  ReceivedFds received;
  received.Collect(&message);
  if ((message.msg_flags & MSG_CTRUNC) != 0 || static_cast<size_t>(received.count) >= room) return Napi::Number::New(env, kFdsLost);
  if ((message.msg_flags & MSG_TRUNC) != 0) return Napi::Number::New(env, kRecordCut);
  std::memcpy(fds + 1, received.fds, sizeof(int) * received.count);
  fds[0] = received.count;
  received.count = 0;
  return Napi::Number::New(env, static_cast<double>(n));
}

// watch(events, callback): from now on calls callback(events) whenever one of `events` holds; 0 ends that.
void UnixSocket::SetWatch(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto events = Unsigned(info, 0);
  if (!events) return;
  if (*events > (kReadable | kWritable | kDisconnect)) return ThrowRange(env, "expected events");
  if (*events != 0 && (info.Length() < 2 || !info[1].IsFunction())) return ThrowRange(env, "expected a callback");
  if (!IsOpen(env)) return;
  if (*events != 0 && watch_ == nullptr && !MakeWatch(env)) return;
  if (watch_ == nullptr) return;
  const int error = *events == 0 ? uv_poll_stop(watch_->Poll()) : uv_poll_start(watch_->Poll(), static_cast<int>(*events), OnEvent);
  if (error != 0) return ThrowErrno(env, "uv_poll", -error);
  if (*events != 0) callback_ = Napi::Persistent(info[1].As<Napi::Function>());
  // While it is watched, the loop keeps the object.
  if (watching_ != (*events != 0)) {
    watching_ = !watching_;
    if (watching_) Ref();
    else Unref();
  }
}

bool UnixSocket::MakeWatch(Napi::Env env) {
  uv_loop_s* loop = nullptr;
  const char* name = uv_handle_type_name(kUvPoll);
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || name == nullptr || std::strcmp(name, "poll") != 0) {
    return ThrowErrno(env, "napi_get_uv_event_loop", ENOSYS), false;
  }
  auto* watch = static_cast<Watch*>(std::calloc(1, sizeof(Watch) + uv_handle_size(kUvPoll)));
  if (watch == nullptr) return ThrowErrno(env, "malloc", ENOMEM), false;
  const int error = uv_poll_init(loop, watch->Poll(), fd_);
  if (error != 0) return std::free(watch), ThrowErrno(env, "uv_poll_init", -error), false;
  watch->owner = this;
  uv_handle_set_data(watch->Handle(), watch);
  // A thread that ends has to close its handles first.
  if (napi_add_async_cleanup_hook(env, OnCleanup, watch, &watch->hook) != napi_ok) watch->hook = nullptr;
  watch_ = watch;
  return true;
}

void UnixSocket::OnEvent(uv_poll_s* poll, int status, int events) {
  auto* watch = static_cast<Watch*>(uv_handle_get_data(reinterpret_cast<uv_handle_s*>(poll)));
  UnixSocket* self = watch->owner;
  if (self == nullptr || self->callback_.IsEmpty()) return;
  // An error of the socket (libuv stops watching then) is found by whoever reads or writes next.
  const uint64_t what = status < 0 ? kReadable | kWritable | kDisconnect : static_cast<uint64_t>(events);
  // The callee may have closed it; libuv frees the handle later, from its loop.
  if (!self->Call(static_cast<double>(what)) && watch->owner != nullptr) uv_poll_stop(poll);
}

// Calls back. False when JavaScript cannot run any more: the thread is ending. The C++ wrapper would end the process
// then, hence Node-API's C functions.
bool UnixSocket::Call(double events) {
  const napi_env env = Env();
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return false;
  napi_value receiver = Value();
  napi_value callback = callback_.Value();
  napi_value name = nullptr, argument = nullptr, result = nullptr, error = nullptr;
  napi_async_context context = nullptr;
  napi_status status = napi_generic_failure;
  if (napi_create_string_utf8(env, "linecard:unix", NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_create_double(env, events, &argument) == napi_ok && napi_async_init(env, receiver, name, &context) == napi_ok) {
    status = napi_make_callback(env, context, receiver, callback, 1, &argument, &result);
    if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &error) == napi_ok) {
      status = napi_fatal_exception(env, error);
    }
    napi_async_destroy(env, context);
  }
  napi_close_handle_scope(env, scope);
  return status == napi_ok;
}

void UnixSocket::OnClosed(uv_handle_s* handle) {
  auto* watch = static_cast<Watch*>(uv_handle_get_data(handle));
  if (watch->hook != nullptr) napi_remove_async_cleanup_hook(watch->hook);
  std::free(watch);
}

void UnixSocket::OnCleanup(napi_async_cleanup_hook_handle, void* data) {
  auto* watch = static_cast<Watch*>(data);
  // Without an owner it is closing already: OnClosed is on its way.
  if (watch->owner != nullptr) watch->owner->Shut();
}

// Idempotent. After it nothing is called any more, and the fd is free.
void UnixSocket::Shut() {
  if (watch_ != nullptr) {
    watch_->owner = nullptr;
    uv_close(watch_->Handle(), OnClosed);
    watch_ = nullptr;
  }
  // Not repeated on EINTR: Linux has released the number by then, and somebody else may have it.
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  callback_.Reset();
  if (watching_) {
    watching_ = false;
    Unref();
  }
}

Napi::Function UnixSocket::Define(Napi::Env env) {
  return DefineClass(env, "UnixSocket",
                     {
                         InstanceMethod<&UnixSocket::Accept>("accept"),
                         InstanceMethod<&UnixSocket::Send>("send"),
                         InstanceMethod<&UnixSocket::Receive>("receive"),
                         InstanceMethod<&UnixSocket::SetWatch>("watch"),
                         InstanceMethod<&UnixSocket::Close>("close"),
                     });
}

void AddUnixSocket(Napi::Env env, Napi::Object exports) {
  exports.Set("UnixSocket", UnixSocket::Define(env));
}

}  // namespace linecard
