// What may vanish while it is mapped: a peer's file, which its owner can truncate, and the registers of a device, which can
// be pulled. Touching it then is SIGBUS, which would end the process: here it means that other memory takes its place
// (zeros; of registers ones, which is what a bus reads where nobody answers), and that whoever owns the mapping is told.
#include "linecard.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>

namespace linecard {

// One mapping. The handler reads it at any moment, in any thread: `end` is set last and taken back first. A slot keeps
// its range after the mapping has gone, for a fault that was under way then.
struct Guard {
  std::atomic<uintptr_t> start{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> used{false};
  std::atomic<bool> mapped{false};
  std::atomic<bool> ones{false};
  std::atomic<bool> faulted{false};
};

static std::array<Guard, 4096> guards;
// Slots below this one were used once.
static std::atomic<size_t> guardsEnd{0};
static struct sigaction previous;
static std::atomic<bool> installed{false};

static Guard* GuardOf(uintptr_t address) {
  const size_t end = guardsEnd.load(std::memory_order_acquire);
  Guard* gone = nullptr;
  for (size_t i = 0; i < end; i++) {
    Guard& guard = guards[i];
    if (address < guard.start.load(std::memory_order_acquire) || address >= guard.end.load(std::memory_order_acquire)) continue;
    if (guard.mapped.load(std::memory_order_acquire)) return &guard;
    gone = &guard;
  }
  return gone;
}

// Puts memory over [start, end) that reads zeros, or ones. The latter is made elsewhere and moved there in one step: no
// other thread sees it half done. Async-signal-safe: system calls and nothing else.
static bool Replace(uintptr_t start, uintptr_t end, bool ones) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const place = reinterpret_cast<void*>(start);
  if (!ones) return mmap(place, end - start, PROT_READ | PROT_WRITE, kFlags | MAP_FIXED, -1, 0) != MAP_FAILED;
  void* const made = mmap(nullptr, end - start, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (made == MAP_FAILED) return false;
  std::memset(made, 0xff, end - start);
  if (mremap(made, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, place) != MAP_FAILED) return true;
  munmap(made, end - start);
  return false;
}

// Async-signal-safe: atomics and `Replace`.
static void OnBusError(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  Guard* guard = GuardOf(reinterpret_cast<uintptr_t>(info->si_addr));
  if (guard != nullptr) {
    const uintptr_t start = guard->start.load(std::memory_order_acquire);
    const uintptr_t end = guard->end.load(std::memory_order_acquire);
    // Not mapped any more: zeroed memory is there already, and the access is simply done again.
    const bool mended =
        !guard->mapped.load(std::memory_order_acquire) || Replace(start, end, guard->ones.load(std::memory_order_acquire));
    guard->faulted.store(true, std::memory_order_release);
    errno = error;
    if (mended) return;
  }
  // Somebody else's: as it would have been without us.
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    sigaction(SIGBUS, &previous, nullptr);  // the access is done again, and ends the process
  }
}

// Once per process; from then on.
static bool Install() {
  if (installed.exchange(true)) return true;
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, &previous) == 0) return true;
  installed.store(false);
  return false;
}

static int TakeGuard(uintptr_t start, uintptr_t end, bool ones) {
  for (size_t i = 0; i < guards.size(); i++) {
    Guard& guard = guards[i];
    if (guard.used.exchange(true)) continue;
    guard.end.store(0, std::memory_order_release);
    guard.faulted.store(false, std::memory_order_release);
    guard.ones.store(ones, std::memory_order_release);
    guard.mapped.store(true, std::memory_order_release);
    guard.start.store(start, std::memory_order_release);
    guard.end.store(end, std::memory_order_release);
    for (size_t seen = guardsEnd.load(); seen < i + 1 && !guardsEnd.compare_exchange_weak(seen, i + 1);) {
    }
    return static_cast<int>(i);
  }
  return -1;
}

static void GiveGuard(int slot) {
  guards[slot].mapped.store(false, std::memory_order_release);
  guards[slot].used.store(false, std::memory_order_release);
}

static Guard* GuardArgument(const Napi::CallbackInfo& info, size_t index) {
  const auto slot = Unsigned(info, index);
  if (!slot) return nullptr;
  if (*slot < guards.size() && guards[*slot].used.load()) return &guards[*slot];
  ThrowRange(info.Env(), "expected a guard");
  return nullptr;
}

// mapPeer(window, offset, length, fd, fdOffset, ones = false) -> guard. Not populated: a guest may have gigabytes that it
// never used. `ones`: what takes its place reads ones.
static Napi::Value MapPeer(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto range = PageRange(info);
  if (!range) return env.Undefined();
  const auto fd = Fd(info, 3);
  if (!fd) return env.Undefined();
  const auto offset = Unsigned(info, 4);
  if (!offset) return env.Undefined();
  if (!Install()) return ThrowErrno(env, "sigaction", errno), env.Undefined();
  const auto start = reinterpret_cast<uintptr_t>(range->address);
  const int slot = TakeGuard(start, start + range->length, info[5].ToBoolean());
  if (slot < 0) return ThrowErrno(env, "mmap", ENOMEM), env.Undefined();
  const int error = MapOver(*range, PROT_READ | PROT_WRITE, *fd, static_cast<off_t>(*offset), false);
  if (error != 0) return GiveGuard(slot), ThrowErrno(env, "mmap", error), env.Undefined();
  madvise(range->address, range->length, MADV_DONTFORK);
  // What a guest has in its memory is not for our core dumps.
  madvise(range->address, range->length, MADV_DONTDUMP);
  return Napi::Number::New(env, slot);
}

// unmapPeer(window, offset, length, guard): zeroed memory over it. Nobody may be using it any more.
static Napi::Value UnmapPeer(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto range = PageRange(info);
  if (!range) return env.Undefined();
  Guard* guard = GuardArgument(info, 3);
  if (guard == nullptr) return env.Undefined();
  if (!Anonymous(*range)) return ThrowErrno(env, "mmap", errno), env.Undefined();
  GiveGuard(static_cast<int>(guard - guards.data()));
  return env.Undefined();
}

// peerFaulted(guard): whether something of the mapping was missing when it was used; it reads zeros, or ones, since then.
static Napi::Value PeerFaulted(const Napi::CallbackInfo& info) {
  const Guard* guard = GuardArgument(info, 0);
  if (guard == nullptr) return info.Env().Undefined();
  return Napi::Boolean::New(info.Env(), guard->faulted.load(std::memory_order_acquire));
}

// fileSeals(fd) -> the seals of a memfd (F_SEAL_SHRINK is 2), 0 of a file that has none.
static Napi::Value FileSeals(const Napi::CallbackInfo& info) {
  const auto fd = Fd(info, 0);
  if (!fd) return info.Env().Undefined();
  const int seals = fcntl(*fd, F_GET_SEALS);
  if (seals < 0 && errno != EINVAL) return ThrowErrno(info.Env(), "fcntl(F_GET_SEALS)", errno), info.Env().Undefined();
  return Napi::Number::New(info.Env(), seals < 0 ? 0 : seals);
}

void AddPeer(Napi::Env env, Napi::Object exports) {
  exports.Set("mapPeer", Napi::Function::New<MapPeer>(env, "mapPeer"));
  exports.Set("unmapPeer", Napi::Function::New<UnmapPeer>(env, "unmapPeer"));
  exports.Set("peerFaulted", Napi::Function::New<PeerFaulted>(env, "peerFaulted"));
  exports.Set("fileSeals", Napi::Function::New<FileSeals>(env, "fileSeals"));
}

}  // namespace linecard
