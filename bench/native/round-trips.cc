// Both ends of a UDP round trip: sockets that block, as most programs have them. JavaScript's own timers and event loop
// would be most of what they measured.
//
//   round-trips answer PORT              sends every datagram back to where it came from
//   round-trips ask ADDRESS PORT [MS]    waits MS (50) for an answer. For each line "MS IN_FLIGHT" on standard input asks for
//                                        so long, with so many requests under way at a time, and prints
//                                        {"trips":N,"ns":N,"lost":N,"p50":NS,"p99":NS,"max":NS}
//
// Both print "ready" and end with their standard input.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr int kPayload = 18;  // the least that fills an Ethernet frame
constexpr int kMaxInFlight = 1024;
constexpr int kPatienceMs = 50;  // unless another is asked for
constexpr size_t kMaxTrips = 4'000'000;

uint64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

sockaddr_in address_of(const char* address, const char* port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  if (inet_pton(AF_INET, address, &to.sin_addr) != 1) fail(address);
  return to;
}

void ready() {
  std::puts("ready");
  std::fflush(stdout);
}

int answer(const char* port) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const sockaddr_in here = address_of("0.0.0.0", port);
  if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0) fail("answer");
  ready();
  // A look at standard input now and then: its end is ours.
  timeval patience{0, 100'000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char bytes[2048];
  for (;;) {
    sockaddr_in from{};
    socklen_t length = sizeof from;
    const ssize_t n = recvfrom(fd, bytes, sizeof bytes, 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (n >= 0) {
      sendto(fd, bytes, static_cast<size_t>(n), 0, reinterpret_cast<sockaddr*>(&from), length);
      continue;
    }
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, 0) > 0 && read(STDIN_FILENO, bytes, sizeof bytes) <= 0) return 0;
  }
}

// What a request carries, and what its answer brings back.
struct Request {
  uint64_t sent;
  uint32_t attempt;  // answers to requests that were given up are not counted
};

struct Tally {
  std::vector<uint64_t> trips;
  uint64_t sent = 0;
};

void ask_one(int fd, uint32_t attempt, Tally& tally) {
  tally.sent++;
  char bytes[kPayload] = {};
  const Request request{now(), attempt};
  std::memcpy(bytes, &request, 12);
  // A refusal (no such port yet) shows as a loss.
  if (send(fd, bytes, sizeof bytes, 0) < 0 && errno != ECONNREFUSED && errno != ENOBUFS) fail("send");
}

void ask_for(int fd, uint64_t ns, int in_flight, Tally& tally) {
  static uint32_t attempt = 0;
  const uint64_t end = now() + ns;
  attempt++;
  for (int i = 0; i < in_flight; i++) ask_one(fd, attempt, tally);
  char bytes[2048];
  for (;;) {
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    const uint64_t at = now();
    if (at >= end) return;
    if (n < 0) {
      if (errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) fail("recv");
      if (errno != EAGAIN) continue;
      attempt++;
      for (int i = 0; i < in_flight; i++) ask_one(fd, attempt, tally);
      continue;
    }
    Request request{};
    if (n < 12) continue;
    std::memcpy(&request, bytes, 12);
    if (request.attempt != attempt) continue;
    if (tally.trips.size() < kMaxTrips) tally.trips.push_back(at - request.sent);
    ask_one(fd, attempt, tally);
  }
}

unsigned long long quantile(const std::vector<uint64_t>& sorted, double q) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<size_t>(static_cast<double>(sorted.size() - 1) * q)];
}

int ask(const char* address, const char* port, int patience_ms) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const sockaddr_in to = address_of(address, port);
  if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fail("ask");
  timeval patience{patience_ms / 1000, patience_ms % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  Tally tally;
  tally.trips.reserve(kMaxTrips);
  ready();
  double ms;
  for (int in_flight; std::scanf("%lf %d", &ms, &in_flight) == 2;) {
    if (in_flight < 1 || in_flight > kMaxInFlight) return std::fputs("bad number in flight\n", stderr), 2;
    tally.trips.clear();
    tally.sent = 0;
    const uint64_t start = now();
    ask_for(fd, static_cast<uint64_t>(ms * 1e6), in_flight, tally);
    const uint64_t ns = now() - start;
    // What is under way at the end is not lost.
    const uint64_t done = tally.trips.size() + static_cast<uint64_t>(in_flight);
    const uint64_t lost = tally.sent > done ? tally.sent - done : 0;
    std::sort(tally.trips.begin(), tally.trips.end());
    using Number = unsigned long long;
    std::printf("{\"trips\":%llu,\"ns\":%llu,\"lost\":%llu,\"p50\":%llu,\"p99\":%llu,\"max\":%llu}\n",
                Number{tally.trips.size()}, Number{ns}, Number{lost}, quantile(tally.trips, 0.5),
                quantile(tally.trips, 0.99), quantile(tally.trips, 1));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "answer") == 0) return answer(argv[2]);
  if ((argc == 4 || argc == 5) && std::strcmp(argv[1], "ask") == 0) {
    return ask(argv[2], argv[3], argc == 5 ? std::atoi(argv[4]) : kPatienceMs);
  }
  std::fputs("usage: round-trips answer PORT | ask ADDRESS PORT [PATIENCE_MS]\n", stderr);
  return 2;
}
