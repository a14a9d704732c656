// The layered loop of linecard's workers, written in C++: receive a burst, rewrite both MAC addresses, transmit it.
// It does what the queues in lib/drivers/{null,loop}/queue.ts do, check for check and counter for counter, with the
// three stages kept apart (noinline) as they are apart in a driver framework. This is what JavaScript is compared to;
// it is no part of the addon.
//
//   yardstick null|loop BURST FRAMES CPU
//
// prints "ready"; then for each line MS on standard input forwards for so long and prints
// {"packets":N,"ns":N,"waitedNs":N}.
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int32_t kFrameSize = 2048;
constexpr int32_t kHeadroom = 256;
constexpr int32_t kFrames = 4096;
constexpr int32_t kRingSize = 1024;
constexpr int32_t kMinLength = 14;
constexpr int32_t kMaxLength = 1518;
constexpr int32_t kLength = 60;
constexpr int32_t kMaxBurst = 1024;

struct Burst {
  int32_t size;
  int32_t count;
  int32_t offsets[kMaxBurst];
  int32_t lengths[kMaxBurst];
};

struct Counters {
  uint64_t packets;
  uint64_t bytes;
  uint64_t completed;
  uint64_t runt;
  uint64_t oversize;
};

// The worker's free frames: last in, first out, so that the same few stay in the cache.
struct Stack {
  int32_t top;
  int32_t slots[kFrames];
};

// Indices run freely and are masked on use; each side's index has a cache line of its own.
struct Ring {
  alignas(64) std::atomic<uint32_t> produced;
  alignas(64) std::atomic<uint32_t> consumed;
  alignas(64) std::atomic<int32_t> armed;
  alignas(64) int32_t descriptors[kRingSize * 2];
};

uint8_t* arena;
Stack stack;
Ring ring;
Counters rx_counters;
Counters tx_counters;
uint64_t dropped;
uint64_t wakeups;

// Takes up to `count` free frames; returns how many there were.
int32_t take(int32_t* offsets, int32_t count) {
  const int32_t n = count < stack.top ? count : stack.top;
  const int32_t* from = stack.slots + stack.top - 1;
  for (int32_t i = 0; i < n; i++) offsets[i] = from[-i] + kHeadroom;
  stack.top -= n;
  return n;
}

// Returns frames [from, to).
void give(const int32_t* offsets, int32_t from, int32_t to) {
  int32_t* slots = stack.slots + stack.top;
  for (int32_t i = from; i < to; i++) *slots++ = offsets[i] & ~(kFrameSize - 1);
  stack.top += to - from;
}

// One comparison for both bounds: too short wraps to a large unsigned number.
bool possible(int32_t length) {
  return static_cast<uint32_t>(length - kMinLength) <= static_cast<uint32_t>(kMaxLength - kMinLength);
}

void refuse(int32_t length) {
  if (length < kMinLength) {
    tx_counters.runt++;
  } else {
    tx_counters.oversize++;
  }
}

// Receives endless frames of the worker's own; frees what it is sent.
struct NullPort {
  static void kick() {}

  [[gnu::noinline]] static int32_t receive(Burst& burst) {
    const int32_t n = take(burst.offsets, burst.size);
    for (int32_t i = 0; i < n; i++) burst.lengths[i] = kLength;
    burst.count = n;
    rx_counters.packets += static_cast<uint64_t>(n);
    rx_counters.bytes += static_cast<uint64_t>(n) * kLength;
    return n;
  }

  [[gnu::noinline]] static int32_t transmit(const Burst& burst, int32_t from, int32_t to) {
    uint64_t bytes = 0, completed = 0;
    for (int32_t i = from; i < to; i++) {
      const int32_t length = burst.lengths[i];
      if (possible(length)) {
        bytes += static_cast<uint64_t>(length);
        completed++;
      } else {
        refuse(length);
      }
    }
    give(burst.offsets, from, to);
    tx_counters.packets += static_cast<uint64_t>(to - from);
    tx_counters.bytes += bytes;
    tx_counters.completed += completed;
    return to - from;
  }
};

// Receives what it was sent, through a single-producer single-consumer ring.
struct LoopPort {
  // Is somebody asleep who waits for this? The index before `armed`, while a sleeper writes them the other way round.
  [[gnu::noinline]] static void kick() {
    ring.produced.exchange(ring.produced.load(std::memory_order_relaxed), std::memory_order_seq_cst);
    if (ring.armed.load(std::memory_order_relaxed) != 0) wakeups++;
  }

  [[gnu::noinline]] static int32_t receive(Burst& burst) {
    const uint32_t at = ring.consumed.load(std::memory_order_relaxed);
    // The descriptors after the index that covers them.
    uint32_t n = ring.produced.load(std::memory_order_acquire) - at;
    if (n > static_cast<uint32_t>(burst.size)) n = static_cast<uint32_t>(burst.size);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
      const int32_t* d = ring.descriptors + ((at + i) & (kRingSize - 1)) * 2;
      burst.offsets[i] = d[0];
      burst.lengths[i] = d[1];
      bytes += static_cast<uint64_t>(d[1]);
    }
    ring.consumed.store(at + n, std::memory_order_release);
    burst.count = static_cast<int32_t>(n);
    rx_counters.packets += n;
    rx_counters.bytes += bytes;
    return static_cast<int32_t>(n);
  }

  [[gnu::noinline]] static int32_t transmit(const Burst& burst, int32_t from, int32_t to) {
    uint32_t at = ring.produced.load(std::memory_order_relaxed);
    const uint32_t taken = ring.consumed.load(std::memory_order_acquire);
    const uint32_t room = kRingSize - (at - taken);
    if (static_cast<uint32_t>(to - from) > room) to = from + static_cast<int32_t>(room);
    uint64_t bytes = 0;
    for (int32_t i = from; i < to; i++) {
      const int32_t length = burst.lengths[i];
      if (possible(length)) {
        int32_t* d = ring.descriptors + (at++ & (kRingSize - 1)) * 2;
        d[0] = burst.offsets[i];
        d[1] = length;
        bytes += static_cast<uint64_t>(length);
      } else {
        refuse(length);
        give(burst.offsets, i, i + 1);
      }
    }
    // The descriptors before the index that covers them.
    ring.produced.store(at, std::memory_order_release);
    tx_counters.packets += static_cast<uint64_t>(to - from);
    tx_counters.bytes += bytes;
    tx_counters.completed = taken;
    return to - from;
  }
};

const uint8_t kAddresses[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};

template <class Port>
[[gnu::noinline]] int32_t l2fwd(Burst& burst) {
  const int32_t n = Port::receive(burst);
  if (n == 0) return 0;
  for (int32_t i = 0; i < n; i++) std::memcpy(arena + burst.offsets[i], kAddresses, sizeof kAddresses);
  const int32_t sent = Port::transmit(burst, 0, n);
  if (sent < n) {
    give(burst.offsets, sent, n);
    dropped += static_cast<uint64_t>(n - sent);
  }
  return n;
}

uint64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

// Nanoseconds in which this thread was ready to run and something else had the cpu: /proc/<pid>/schedstat, 2nd field.
uint64_t waited() {
  unsigned long long ns = 0;
  std::FILE* file = std::fopen("/proc/thread-self/schedstat", "r");
  if (file == nullptr) return 0;
  if (std::fscanf(file, "%*u %llu", &ns) != 1) ns = 0;
  std::fclose(file);
  return ns;
}

// Set by nobody here; a worker reads such a word once per burst to learn that it is wanted elsewhere.
volatile int32_t control;

template <class Port>
void forward(Burst& burst, uint64_t ns) {
  const uint64_t before = rx_counters.packets;
  const uint64_t waited_before = waited();
  const uint64_t start = now();
  uint64_t end = start;
  while (end - start < ns) {
    for (int32_t i = 0; i < 1024 && control == 0; i++) {
      l2fwd<Port>(burst);
      Port::kick();
    }
    end = now();
  }
  using Number = unsigned long long;
  std::printf("{\"packets\":%llu,\"ns\":%llu,\"waitedNs\":%llu}\n", Number{rx_counters.packets - before},
              Number{end - start}, Number{waited() - waited_before});
  std::fflush(stdout);
}

bool pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

bool make_frames() {
  // Offset 0 means "no frame", so the frames begin one frame in.
  const size_t bytes = static_cast<size_t>(kFrames + 1) * kFrameSize;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return false;
  arena = static_cast<uint8_t*>(memory);
  for (int32_t i = kFrames; i > 0; i--) stack.slots[stack.top++] = i * kFrameSize;
  return true;
}

template <class Port>
int serve(int32_t size, int32_t frames) {
  static Burst burst;
  // A ring starts with so many frames in it, which circulate from then on.
  for (int32_t left = frames; left > 0;) {
    burst.size = left < kMaxBurst ? left : kMaxBurst;
    left -= LoopPort::transmit(burst, 0, NullPort::receive(burst));
  }
  rx_counters = tx_counters = Counters{};
  burst.size = size;
  std::puts("ready");
  std::fflush(stdout);
  for (double ms; std::scanf("%lf", &ms) == 1;) forward<Port>(burst, static_cast<uint64_t>(ms * 1e6));
  const uint64_t lost = dropped + tx_counters.runt + tx_counters.oversize;
  if (lost == 0) return 0;
  std::printf("%llu packets were lost\n", static_cast<unsigned long long>(lost));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool null_port = argc == 5 && std::strcmp(argv[1], "null") == 0;
  const bool loop_port = argc == 5 && std::strcmp(argv[1], "loop") == 0;
  const int32_t size = argc == 5 ? std::atoi(argv[2]) : 0;
  const int32_t frames = argc == 5 ? std::atoi(argv[3]) : 0;
  if (!(null_port || loop_port) || size < 1 || size > kMaxBurst || frames < 0 || frames > kRingSize) {
    std::fputs("usage: yardstick null|loop BURST FRAMES CPU\n", stderr);
    return 2;
  }
  if (!pin(std::atoi(argv[4])) || !make_frames()) {
    std::perror("yardstick");
    return 1;
  }
  return null_port ? serve<NullPort>(size, 0) : serve<LoopPort>(size, frames);
}
