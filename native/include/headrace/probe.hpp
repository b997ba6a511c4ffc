// What this machine is, and how fast: instruction sets, cores, read bandwidth, barriers.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace headrace {

// Names of the kernel tables that run here, slowest first.
std::vector<std::string> available_isas();

// Processors this process may use, hyper-threads of one core counted once, at most what a
// container's CPU quota allows; at least 1.
int physical_cores();

// Bytes per second that `threads` threads read together from a working set of `bytes`, each its
// own contiguous part, over and over: the fastest stretch of about 2 ms within `seconds`. The
// fastest, because other processes can only take away, and of two orders of reading, because a limit
// that something else can pass is none.
double read_bandwidth(std::size_t bytes, int threads, double seconds);

// Seconds one barrier between `threads` workers takes, the best of several bursts.
double barrier_seconds(int threads);

// Seconds a cache line takes from one worker to another and back: both write it in turn, each as
// soon as it sees the other's write. The best of several bursts; nothing when this process may use
// one processor only. A virtual machine's processors may share a cache complex at one time and not
// at another, and then this, the barrier and the bandwidth all change.
std::optional<double> round_trip_seconds();

}  // namespace headrace
