// Waiting for interrupts: one epoll set per worker.
#include "linecard.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

namespace linecard {

// epollCreate() -> fd.
static Napi::Value EpollCreate(const Napi::CallbackInfo& info) {
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return ThrowErrno(info.Env(), "epoll_create1", errno), info.Env().Undefined();
  return Napi::Number::New(info.Env(), fd);
}

static int Add(int set, int fd) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.fd = fd;
  return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
}

// epollAdd(epoll, fd). Edge-triggered: each signal wakes once and nobody has to read the eventfd. The caller re-checks
// its rings after arming them, so an edge that came before is not missed.
static void EpollAdd(const Napi::CallbackInfo& info) {
  const auto set = Fd(info, 0);
  if (!set) return;
  const auto fd = Fd(info, 1);
  if (!fd) return;
  if (Add(*set, *fd) != 0) ThrowErrno(info.Env(), "epoll_ctl", errno);
}

// epollWatch(epoll, fd, on) -> 0 or an errno. For the data half: never throws. What is readable already when it is added
// is reported.
static Napi::Value EpollWatch(const Napi::CallbackInfo& info) {
  const int set = info[0].As<Napi::Number>().Int32Value();
  const int fd = info[1].As<Napi::Number>().Int32Value();
  const bool on = info[2].As<Napi::Boolean>().Value();
  const int result = on ? Add(set, fd) : epoll_ctl(set, EPOLL_CTL_DEL, fd, nullptr);
  return Napi::Number::New(info.Env(), result != 0 ? errno : 0);
}

// epollRemove(epoll, fd). Closing an fd does not do it while somebody else has the same open file (a peer's eventfd).
static void EpollRemove(const Napi::CallbackInfo& info) {
  const auto set = Fd(info, 0);
  if (!set) return;
  const auto fd = Fd(info, 1);
  if (!fd) return;
  if (epoll_ctl(*set, EPOLL_CTL_DEL, *fd, nullptr) != 0) ThrowErrno(info.Env(), "epoll_ctl", errno);
}

static int WaitMicroseconds(int set, epoll_event* events, int size, uint64_t us) {
#ifdef SYS_epoll_pwait2
  struct { int64_t seconds, nanoseconds; } timeout{static_cast<int64_t>(us / 1000000), static_cast<int64_t>(us % 1000000 * 1000)};
  const long n = syscall(SYS_epoll_pwait2, set, events, size, &timeout, nullptr, 0);
  // EPERM: how some containers' filters answer to calls that they don't know.
  if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(n);
#endif
  return epoll_wait(set, events, size, static_cast<int>((us + 999) / 1000));  // before Linux 5.11: milliseconds
}

// epollWait(epoll, us) -> number of ready fds; 0 after `us` microseconds at the latest, or when a signal came.
static Napi::Value EpollWait(const Napi::CallbackInfo& info) {
  constexpr int kEvents = 64;
  constexpr uint64_t kLongest = 1000000;  // a thread in here cannot be terminated: never longer than a second
  const auto set = Fd(info, 0);
  if (!set) return info.Env().Undefined();
  const auto us = Unsigned(info, 1);
  if (!us) return info.Env().Undefined();
  epoll_event events[kEvents];
  const int n = WaitMicroseconds(*set, events, kEvents, *us < kLongest ? *us : kLongest);
  if (n < 0 && errno != EINTR) return ThrowErrno(info.Env(), "epoll_wait", errno), info.Env().Undefined();
  return Napi::Number::New(info.Env(), n < 0 ? 0 : n);
}

void AddWait(Napi::Env env, Napi::Object exports) {
  exports.Set("epollCreate", Napi::Function::New<EpollCreate>(env, "epollCreate"));
  exports.Set("epollWatch", Napi::Function::New<EpollWatch>(env, "epollWatch"));
  exports.Set("epollAdd", Napi::Function::New<EpollAdd>(env, "epollAdd"));
  exports.Set("epollRemove", Napi::Function::New<EpollRemove>(env, "epollRemove"));
  exports.Set("epollWait", Napi::Function::New<EpollWait>(env, "epollWait"));
}

}  // namespace linecard
