// The calling thread: its cpus, its clock, its limits.
#include "linecard.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#include <limits>
#include <vector>

namespace linecard {

constexpr int kMaxCpus = 8192;

class CpuSet {
 public:
  CpuSet() : words_(CPU_ALLOC_SIZE(kMaxCpus) / sizeof(unsigned long), 0) {}
  size_t bytes() const { return words_.size() * sizeof(unsigned long); }
  cpu_set_t* get() { return reinterpret_cast<cpu_set_t*>(words_.data()); }

 private:
  std::vector<unsigned long> words_;
};

// setAffinity(cpu): the calling thread runs on that cpu alone.
static void SetAffinity(const Napi::CallbackInfo& info) {
  const auto cpu = Unsigned(info, 0);
  if (!cpu) return;
  if (*cpu >= kMaxCpus) return ThrowRange(info.Env(), "cpu number is too large");
  CpuSet set;
  CPU_SET_S(*cpu, set.bytes(), set.get());
  if (sched_setaffinity(0, set.bytes(), set.get()) != 0) ThrowErrno(info.Env(), "sched_setaffinity", errno);
}

// affinity() -> numbers of the cpus that the calling thread may run on (the cgroup's choice included).
static Napi::Value Affinity(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  CpuSet set;
  if (sched_getaffinity(0, set.bytes(), set.get()) != 0) return ThrowErrno(env, "sched_getaffinity", errno), env.Undefined();
  Napi::Array cpus = Napi::Array::New(env);
  for (int cpu = 0; cpu < kMaxCpus; cpu++) {
    if (CPU_ISSET_S(cpu, set.bytes(), set.get())) cpus.Set(cpus.Length(), cpu);
  }
  return cpus;
}

// setTimerSlack(ns): how late the kernel may end this thread's sleeps.
static void SetTimerSlack(const Napi::CallbackInfo& info) {
  const auto ns = Unsigned(info, 0);
  if (ns && prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(*ns)) != 0) ThrowErrno(info.Env(), "prctl", errno);
}

// tid() -> the kernel's number of the calling thread.
static Napi::Value Tid(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(syscall(SYS_gettid)));
}

// memlockLimit() -> RLIMIT_MEMLOCK in bytes, Infinity if there is none.
static Napi::Value MemlockLimit(const Napi::CallbackInfo& info) {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return ThrowErrno(info.Env(), "getrlimit", errno), info.Env().Undefined();
  const bool none = limit.rlim_cur == RLIM_INFINITY;
  return Napi::Number::New(info.Env(), none ? std::numeric_limits<double>::infinity() : static_cast<double>(limit.rlim_cur));
}

// bindClock(words: Int32Array of 4): where this thread's `clock` and `utc` put nanoseconds, low half first.
static void BindClock(const Napi::CallbackInfo& info) {
  void* data = nullptr;
  size_t length = 0;
  napi_typedarray_type type = napi_int8_array;
  if (info.Length() < 1 || napi_get_typedarray_info(info.Env(), info[0], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || length < 4) {
    return ThrowRange(info.Env(), "expected an Int32Array of 4 words");
  }
  PerThread* own = info.Env().GetInstanceData<PerThread>();
  own->words = Napi::Persistent(info[0].As<Napi::Object>());
  own->clock = static_cast<uint32_t*>(data);
}

static void ReadClock(const Napi::CallbackInfo& info, clockid_t id, int at) {
  uint32_t* words = info.Env().GetInstanceData<PerThread>()->clock;
  if (words == nullptr) return ThrowRange(info.Env(), "bindClock first");
  timespec now{};
  clock_gettime(id, &now);
  const uint64_t ns = static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
  words[at] = static_cast<uint32_t>(ns);
  words[at + 1] = static_cast<uint32_t>(ns >> 32);
}

// clock(): monotonic nanoseconds into words 0 and 1. Allocates nothing.
static void Clock(const Napi::CallbackInfo& info) { ReadClock(info, CLOCK_MONOTONIC, 0); }
// utc(): nanoseconds since 1970 into words 2 and 3.
static void Utc(const Napi::CallbackInfo& info) { ReadClock(info, CLOCK_REALTIME, 2); }

void AddThread(Napi::Env env, Napi::Object exports) {
  exports.Set("setAffinity", Napi::Function::New<SetAffinity>(env, "setAffinity"));
  exports.Set("affinity", Napi::Function::New<Affinity>(env, "affinity"));
  exports.Set("setTimerSlack", Napi::Function::New<SetTimerSlack>(env, "setTimerSlack"));
  exports.Set("tid", Napi::Function::New<Tid>(env, "tid"));
  exports.Set("memlockLimit", Napi::Function::New<MemlockLimit>(env, "memlockLimit"));
  exports.Set("bindClock", Napi::Function::New<BindClock>(env, "bindClock"));
  exports.Set("clock", Napi::Function::New<Clock>(env, "clock"));
  exports.Set("utc", Napi::Function::New<Utc>(env, "utc"));
}

}  // namespace linecard
