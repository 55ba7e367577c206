// A camera that makes its pictures up: NV12 frames at a steady rate, in a ring of device buffers.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "opencl.hpp"

using Clock = std::chrono::steady_clock;

struct Frame {
  uint32_t slot;  // in the ring
  uint64_t id;    // 0, 1, ...: a gap is a frame that nobody took
  Clock::time_point taken;
};

class Camera {
 public:
  static constexpr uint32_t kSlots = TGC_CL_SLOTS;

  Camera(cl_context context, cl_device_id device, size_t width, size_t height, std::chrono::nanoseconds period, uint64_t frames);
  ~Camera();
  Camera(const Camera &) = delete;
  Camera &operator=(const Camera &) = delete;

  cl_mem buffer(uint32_t slot) const { return ring_[slot].get(); }

  // The newest frame that was not taken yet, and waits for one; nothing after the last. Its slot is the caller's until the next call.
  std::optional<Frame> next();

 private:
  void run();
  uint32_t free_slot();
  void expose(uint32_t slot, uint64_t id);

  const size_t width_, height_;
  const std::chrono::nanoseconds period_;
  const uint64_t frames_;
  std::array<Memory, kSlots> ring_;
  Queue queue_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::optional<Frame> newest_;
  std::optional<uint32_t> in_use_;
  std::exception_ptr failure_;
  bool done_ = false, stop_ = false;
  std::thread thread_;
};
