#include "camera.hpp"

#include <cstring>

Camera::Camera(cl_context context, cl_device_id device, size_t width, size_t height, std::chrono::nanoseconds period, uint64_t frames)
    : width_(width), height_(height), period_(period), frames_(frames) {
  cl_int error = CL_SUCCESS;
  for (Memory &memory : ring_) memory = ::buffer(context, CL_MEM_READ_ONLY | CL_MEM_ALLOC_HOST_PTR, width * height * 3 / 2);
  queue_.reset(clCreateCommandQueue(context, device, 0, &error));
  require(error, "clCreateCommandQueue");
  thread_ = std::thread([this] { run(); });
}

Camera::~Camera() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  thread_.join();
}

std::optional<Frame> Camera::next() {
  std::unique_lock<std::mutex> lock(mutex_);
  in_use_.reset();
  arrived_.wait(lock, [this] { return newest_ || done_; });
  if (failure_) std::rethrow_exception(failure_);
  if (!newest_) return std::nullopt;
  const Frame frame = *newest_;
  in_use_ = frame.slot;
  newest_.reset();
  return frame;
}

void Camera::run() {
  auto due = Clock::now();
  try {
    for (uint64_t id = 0; id < frames_; ++id, due += period_) {
      std::this_thread::sleep_until(due);
      const uint32_t slot = free_slot();
      expose(slot, id);
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stop_) break;
      newest_ = Frame{slot, id, Clock::now()};
      arrived_.notify_one();
    }
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = std::current_exception();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  done_ = true;
  arrived_.notify_one();
}

// A slot that is neither being looked at nor the newest; with three or more there is always one.
uint32_t Camera::free_slot() {
  const std::lock_guard<std::mutex> lock(mutex_);
  uint32_t slot = 0;
  while ((in_use_ && *in_use_ == slot) || (newest_ && newest_->slot == slot)) ++slot;
  return slot;
}

// A slanted pattern that moves to the left, as a road would pass, under a sky.
void Camera::expose(uint32_t slot, uint64_t id) {
  cl_int error = CL_SUCCESS;
  const size_t bytes = width_ * height_ * 3 / 2;
  void *mapped = clEnqueueMapBuffer(queue_.get(), buffer(slot), CL_TRUE, CL_MAP_WRITE, 0, bytes, 0, nullptr, nullptr, &error);
  require(error, "clEnqueueMapBuffer");
  auto *pixels = static_cast<uint8_t *>(mapped);
  for (size_t row = 0; row < height_; ++row) {
    uint8_t *line = pixels + row * width_;
    for (size_t column = 0; column < width_; ++column) line[column] = static_cast<uint8_t>((column + row + 8 * id) & 0xff);
  }
  std::memset(pixels + width_ * height_, 128, bytes - width_ * height_);
  require(clEnqueueUnmapMemObject(queue_.get(), buffer(slot), mapped, 0, nullptr, nullptr), "clEnqueueUnmapMemObject");
  require(clFinish(queue_.get()), "clFinish");
}
