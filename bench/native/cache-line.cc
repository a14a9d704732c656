// How long a cache line takes from one cpu to another and back: two pinned threads that pass a word to and fro.
//
//   cache-line CPU CPU       for each line "MS" on standard input passes it for so long, and prints {"ns":N}: nanoseconds
//                            per round trip, the median over short stretches
//
// Prints "ready" first, and ends with its standard input.
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr int kTripsPerStretch = 200;
// Whoever waits so long for the other looks at the clock; the other may not have its cpu.
constexpr int kLooks = 20'000;

alignas(128) std::atomic<uint32_t> word{0};
alignas(128) std::atomic<bool> stop{false};

uint64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) std::exit(3);
}

// Answers each odd value with the next even one.
void answer(int cpu) {
  pin(cpu);
  for (uint32_t seen = 0; !stop.load(std::memory_order_relaxed);) {
    const uint32_t value = word.load(std::memory_order_acquire);
    if (value == seen || (value & 1) == 0) continue;
    seen = value;
    word.store(value + 1, std::memory_order_release);
  }
}

bool trip(uint32_t value, uint64_t end) {
  word.store(value, std::memory_order_release);
  for (int look = 0; word.load(std::memory_order_acquire) != value + 1; look++) {
    if (look < kLooks) continue;
    if (now() >= end) return false;
    look = 0;
  }
  return true;
}

double probe(int here, int there, double ms) {
  stop = false;
  word = 0;
  std::thread other(answer, there);
  pin(here);
  std::vector<double> stretches;
  const uint64_t end = now() + static_cast<uint64_t>(ms * 1e6);
  uint32_t value = 1;
  for (bool going = true; going;) {
    const uint64_t start = now();
    for (int i = 0; going && i < kTripsPerStretch; i++, value += 2) going = trip(value, end);
    const uint64_t stretch = now();
    if (going) stretches.push_back(static_cast<double>(stretch - start) / kTripsPerStretch);
    if (stretch >= end) going = false;
  }
  stop = true;
  other.join();
  if (stretches.empty()) return -1;
  std::sort(stretches.begin(), stretches.end());
  return stretches[stretches.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: cache-line CPU CPU\n", stderr), 2;
  const int here = std::atoi(argv[1]);
  const int there = std::atoi(argv[2]);
  std::puts("ready");
  std::fflush(stdout);
  for (double ms; std::scanf("%lf", &ms) == 1;) {
    std::printf("{\"ns\":%.1f}\n", probe(here, there, ms));
    std::fflush(stdout);
  }
  return 0;
}
