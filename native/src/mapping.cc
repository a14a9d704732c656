// Mapping real memory over page ranges of the arena, and anonymous memory over them again.
#include "linecard.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/memfd.h>

#include <utility>

namespace linecard {

// A file descriptor that is closed unless it is released: every early return is safe.
class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  ~OwnedFd() {
    if (fd_ >= 0) close(fd_);
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// mapMemory(arena, offset, length, huge) -> fd of a sealed memfd, mapped shared and populated over the range.
static Napi::Value MapMemory(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto range = PageRange(info);
  if (!range) return env.Undefined();
  const bool huge = info[3].ToBoolean();
  OwnedFd fd(memfd_create("linecard", MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0)));
  if (fd.get() < 0) return ThrowErrno(env, "memfd_create", errno), env.Undefined();
  if (ftruncate(fd.get(), static_cast<off_t>(range->length)) != 0) return ThrowErrno(env, "ftruncate", errno), env.Undefined();
  // A peer that is given this file must not be able to shrink it under us: reading past its end is SIGBUS.
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return ThrowErrno(env, "fcntl(F_ADD_SEALS)", errno), env.Undefined();
  }
  // Reserve the pages before mapping: running out of them shows here as an error, not as SIGBUS at first touch.
  if (fallocate(fd.get(), 0, 0, static_cast<off_t>(range->length)) != 0) return ThrowErrno(env, "fallocate", errno), env.Undefined();
  void* at = mmap(range->address, range->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd.get(), 0);
  if (at == MAP_FAILED) return ThrowErrno(env, "mmap", errno), env.Undefined();
  // A forked child must not share DMA memory: copy-on-write would move pages under a device.
  madvise(range->address, range->length, MADV_DONTFORK);
  return Napi::Number::New(env, fd.release());
}

// mapFd(arena, offset, length, fd, fdOffset, writable): maps a file, socket ring or device region over the range.
static Napi::Value MapFd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto range = PageRange(info);
  if (!range) return env.Undefined();
  const auto fd = Unsigned(info, 3);
  if (!fd) return env.Undefined();
  const auto offset = Unsigned(info, 4);
  if (!offset) return env.Undefined();
  const int prot = PROT_READ | (info[5].ToBoolean() ? PROT_WRITE : 0);
  void* at = mmap(range->address, range->length, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, static_cast<int>(*fd), static_cast<off_t>(*offset));
  if (at == MAP_FAILED) ThrowErrno(env, "mmap", errno);
  return env.Undefined();
}

// unmap(arena, offset, length): anonymous memory over the range, so that stale views read zeros instead of crashing.
static Napi::Value Unmap(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto range = PageRange(info);
  if (!range) return env.Undefined();
  void* at = mmap(range->address, range->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (at == MAP_FAILED) ThrowErrno(env, "mmap", errno);
  return env.Undefined();
}

// addressRemainder(arena, modulus): base address modulo a power of two up to 1 GiB, to place huge pages.
static Napi::Value AddressRemainder(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  void* data = nullptr;
  if (info.Length() < 1 || napi_get_typedarray_info(env, info[0], nullptr, nullptr, &data, nullptr, nullptr) != napi_ok) {
    return ThrowRange(env, "expected the arena as a Uint8Array"), env.Undefined();
  }
  const auto modulus = Unsigned(info, 1);
  if (!modulus) return env.Undefined();
  if (*modulus == 0) return ThrowRange(env, "modulus is 0"), env.Undefined();
  return Napi::Number::New(env, static_cast<double>(reinterpret_cast<uintptr_t>(data) % *modulus));
}

void AddMapping(Napi::Env env, Napi::Object exports) {
  exports.Set("mapMemory", Napi::Function::New<MapMemory>(env, "mapMemory"));
  exports.Set("mapFd", Napi::Function::New<MapFd>(env, "mapFd"));
  exports.Set("unmap", Napi::Function::New<Unmap>(env, "unmap"));
  exports.Set("addressRemainder", Napi::Function::New<AddressRemainder>(env, "addressRemainder"));
}

}  // namespace linecard
