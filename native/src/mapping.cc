// Mapping real memory over page ranges of the arena, and anonymous memory over them again.
#include "linecard.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3; implies MFD_ALLOW_SEALING
#endif

// A memfd that nobody can execute where the kernel knows that (and may insist on it: vm.memfd_noexec), sealable anyway.
static int MakeMemfd(unsigned huge) {
  const int fd = memfd_create("linecard", MFD_CLOEXEC | MFD_NOEXEC_SEAL | huge);
  if (fd >= 0 || errno != EINVAL) return fd;
  return memfd_create("linecard", MFD_CLOEXEC | MFD_ALLOW_SEALING | huge);
}

// Puts zeroed anonymous memory over the range. False leaves errno.
bool Anonymous(const Range& range) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return mmap(range.address, range.length, PROT_READ | PROT_WRITE, kFlags, -1, 0) != MAP_FAILED;
}

// Maps `fd` over the range, with its pages present at once if `populate`. A failed MAP_FIXED may have taken out what was
// there, and a hole in the arena would be a crash at the next access: then anonymous memory fills it.
static int Overlay(const Range& range, int prot, int fd, off_t offset, bool populate) {
  const int flags = MAP_SHARED | MAP_FIXED | (populate ? MAP_POPULATE : 0);
  if (mmap(range.address, range.length, prot, flags, fd, offset) != MAP_FAILED) return 0;
  const int error = errno;
  Anonymous(range);
  return error;
}

// True when the pages [offset, offset + length) of a regular file lie beyond its end: touching them would be SIGBUS.
static bool BeyondEnd(int fd, uint64_t offset, uint64_t length) {
  constexpr uint64_t kPage = 4096;
  struct stat file {};
  if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return false;
  const uint64_t end = (static_cast<uint64_t>(file.st_size) + kPage - 1) / kPage * kPage;
  return offset > end || length > end - offset;
}

int MapOver(const Range& range, int prot, int fd, off_t offset, bool populate) {
  // What lies beyond a file's end cannot be touched: SIGBUS.
  if (BeyondEnd(fd, static_cast<uint64_t>(offset), range.length)) return ENXIO;
  return Overlay(range, prot, fd, offset, populate);
}

// mapMemory(arena, offset, length, huge) -> fd of a sealed memfd, mapped shared and populated over the range.
static Napi::Value MapMemory(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto range = PageRange(info);
  if (!range) return env.Undefined();
  const bool huge = info[3].ToBoolean();
  OwnedFd fd(MakeMemfd(huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
  if (fd.get() < 0) return ThrowErrno(env, "memfd_create", errno), env.Undefined();
  if (ftruncate(fd.get(), static_cast<off_t>(range->length)) != 0) return ThrowErrno(env, "ftruncate", errno), env.Undefined();
  // A peer that is given this file must not be able to shrink it under us: reading past its end is SIGBUS.
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return ThrowErrno(env, "fcntl(F_ADD_SEALS)", errno), env.Undefined();
  }
  // Reserve the pages before mapping: running out of them shows here as an error, not as SIGBUS at first touch.
  if (fallocate(fd.get(), 0, 0, static_cast<off_t>(range->length)) != 0) return ThrowErrno(env, "fallocate", errno), env.Undefined();
  const int error = Overlay(*range, PROT_READ | PROT_WRITE, fd.get(), 0, true);
  if (error != 0) return ThrowErrno(env, "mmap", error), env.Undefined();
  // A forked child must not share DMA memory: copy-on-write would move pages under a device.
  madvise(range->address, range->length, MADV_DONTFORK);
  return Napi::Number::New(env, fd.release());
}

// mapFd(arena, offset, length, fd, fdOffset, writable): maps a file, socket ring or device region over the range. What
// lies beyond a file's end is refused; the fd's owner must not let the file shrink while it is mapped.
static Napi::Value MapFd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto range = PageRange(info);
  if (!range) return env.Undefined();
  const auto fd = Fd(info, 3);
  if (!fd) return env.Undefined();
  const auto offset = Unsigned(info, 4);
  if (!offset) return env.Undefined();
  const int prot = PROT_READ | (info[5].ToBoolean() ? PROT_WRITE : 0);
  const int error = MapOver(*range, prot, *fd, static_cast<off_t>(*offset), true);
  if (error != 0) ThrowErrno(env, "mmap", error);
  return env.Undefined();
}

// unmap(arena, offset, length): anonymous memory over the range, so that stale views read zeros instead of crashing.
static Napi::Value Unmap(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto range = PageRange(info);
  if (!range) return env.Undefined();
  if (!Anonymous(*range)) ThrowErrno(env, "mmap", errno);
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
