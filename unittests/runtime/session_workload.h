// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A mixed set of requests, run through a session and compared with the dense
// reference.
#ifndef EE_UNITTESTS_SESSION_WORKLOAD_H
#define EE_UNITTESTS_SESSION_WORKLOAD_H

#include "toy_model.h"

namespace toy {

class Workload {
public:
  /// `count` requests: prompts of 1 to 24 tokens, up to 30 new ones, with and
  /// without scripts, greedy and sampled, two policies.
  Workload(int count, uint32_t seed);

  void shuffleArrivals(uint32_t seed);
  /// Lets prompt rows leave: by criterion, by mask, by script.
  void promptExits();
  static std::vector<ee_policy> policies();

  /// Runs all requests and expects the reference's result for each, no pages
  /// left behind, and the invariants of the scheduler.
  ee::SessionCounters expectReference(const Model &model,
                                      const std::string &fill,
                                      ee::SessionOptions options);

  std::vector<ee::Request> requests;
  std::vector<ee::RequestStatus> results;
  bool arriveWhileRunning = false;
  uint32_t preemptSeed = 0; ///< not 0: preempt at random

private:
  std::vector<size_t> arrivals;
};

} // namespace toy

#endif // EE_UNITTESTS_SESSION_WORKLOAD_H
