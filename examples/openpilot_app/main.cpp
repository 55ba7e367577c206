// Looks at a road and at a driver, twenty times a second, as openpilot does:
//
//   camera thread -> ring of cl_mem -> road_warp -> cl_mem -> driving (state stays on the device) -> outputs
//                                   -> cabin_warp -> cl_mem -> monitoring                         -> outputs
//
//   openpilot_app MODELS [--frames 200] [--rate 20] [--cache FOLDER]
//
// Prints for each of the two how long it took from a frame's exposure to its outputs, and how many deadlines, one period, were missed.
// Exit status 0, or 1 where something is wrong. All models share one queue; nothing is copied between them.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cabin_warp.h"
#include "camera.hpp"
#include "driving.h"
#include "monitoring.h"
#include "road_warp.h"

namespace {

constexpr size_t kWidth = 1928, kHeight = 1208;
static_assert(ROAD_WARP_FRAME_COUNT == kWidth * kHeight * 3 / 2 && CABIN_WARP_FRAME_COUNT == ROAD_WARP_FRAME_COUNT, "another camera");

struct Options {
  std::string models, cache;
  uint64_t frames = 200;
  double rate = 20;
};

Options parsed(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const char *value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (name == "--frames" && value) {
      options.frames = std::strtoull(argv[++i], nullptr, 10);
    } else if (name == "--rate" && value) {
      options.rate = std::strtod(argv[++i], nullptr);
    } else if (name == "--cache" && value) {
      options.cache = argv[++i];
    } else if (options.models.empty() && name[0] != '-') {
      options.models = name;
    } else {
      throw std::runtime_error("usage: openpilot_app MODELS [--frames 200] [--rate 20] [--cache FOLDER]");
    }
  }
  if (options.models.empty() || options.rate <= 0) throw std::runtime_error("usage: openpilot_app MODELS [--frames 200] [--rate 20]");
  return options;
}

void check_status(tgc_status status, const tgc_cl_context &context, const char *what) {
  if (status != TGC_OK) throw std::runtime_error(std::string(what) + ": " + tgc_status_text(status) + "\n" + tgc_cl_message(&context));
}

// A compiled model from init to release, having passed its self-test. The functions are those of its header.
template <typename Model, auto init, auto selftest, auto release>
class Loaded {
 public:
  Loaded(const tgc_cl_model &description, uint64_t scratch_bytes, const tgc_cl_options &options, const std::string &folder) {
    const std::string name = description.model.name, path = folder + "/" + name + "/" + name + ".weights";
    tgc_weights weights = {};
    if (description.model.weights_bytes && tgc_weights_open(&weights, &description.model, path.c_str()) != TGC_OK) {
      throw std::runtime_error("cannot read " + path);
    }
    const tgc_status status = init(&model_, &options, weights.data, weights.bytes);
    tgc_weights_close(&weights);
    check_status(status, model_.cl, name.c_str());
    std::vector<uint64_t> scratch(scratch_bytes / 8 + 1);
    const tgc_status passed = selftest(&model_, scratch.data(), scratch.size() * 8, nullptr);
    if (passed != TGC_OK) {
      const std::string said = tgc_cl_message(&model_.cl);
      release(&model_);
      throw std::runtime_error("self-test of " + name + ": " + said);
    }
  }
  ~Loaded() { release(&model_); }
  Loaded(const Loaded &) = delete;
  Loaded &operator=(const Loaded &) = delete;

  Model *operator&() { return &model_; }
  const tgc_cl_context &cl() const { return model_.cl; }
  void check(tgc_status status, const char *what) const { check_status(status, model_.cl, what); }

 private:
  Model model_ = {};
};

using RoadWarp = Loaded<road_warp_context, road_warp_init, road_warp_selftest, road_warp_release>;
using CabinWarp = Loaded<cabin_warp_context, cabin_warp_init, cabin_warp_selftest, cabin_warp_release>;
using Driving = Loaded<driving_context, driving_init, driving_selftest, driving_release>;
using Monitoring = Loaded<monitoring_context, monitoring_init, monitoring_selftest, monitoring_release>;

struct Latencies {
  std::vector<double> milliseconds;
  void add(Clock::time_point from) {
    milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - from).count());
  }
  void print(const char *name, double deadline) const {
    std::vector<double> sorted = milliseconds;
    if (sorted.empty()) return;
    std::sort(sorted.begin(), sorted.end());
    double sum = 0;
    for (const double value : sorted) sum += value;
    const auto missed = sorted.end() - std::upper_bound(sorted.begin(), sorted.end(), deadline);
    std::printf("%-10s %4zu frames: mean %.2f ms, p99 %.2f, worst %.2f; %td missed the deadline of %.0f ms\n", name, sorted.size(),
                sum / static_cast<double>(sorted.size()), sorted[(sorted.size() * 99 + 99) / 100 - 1], sorted.back(), missed, deadline);
  }
};

// From the model's pixels, a frame of `width` by `height`, to the camera's: a window in the middle that sways a little with the car.
std::array<float, 9> transform(uint64_t frame, float width, float height) {
  const float scale = std::min(static_cast<float>(kWidth) / width, static_cast<float>(kHeight) / height) * 0.8f;
  const float angle = 0.01f * std::sin(0.1f * static_cast<float>(frame));
  const float a = scale * std::cos(angle), b = scale * std::sin(angle);
  const float x = static_cast<float>(kWidth) / 2 - (a * width - b * height) / 2, y = static_cast<float>(kHeight) / 2 - (b * width + a * height) / 2;
  return {a, -b, x, b, a, y, 0, 1e-5f, 1};
}

cl_device_id first_device() {
  cl_platform_id platform;
  cl_device_id device;
  require(clGetPlatformIDs(1, &platform, nullptr), "clGetPlatformIDs");
  require(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, nullptr), "clGetDeviceIDs");
  return device;
}

bool finite(const std::vector<float> &values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

int run(const Options &given) {
  cl_int error = CL_SUCCESS;
  cl_device_id device = first_device();
  const Context context(clCreateContext(nullptr, 1, &device, nullptr, nullptr, &error));
  require(error, "clCreateContext");
  const Queue queue(clCreateCommandQueue(context.get(), device, 0, &error));
  require(error, "clCreateCommandQueue");

  tgc_cl_options options = {};
  options.queue = queue.get();
  options.cache_folder = given.cache.empty() ? nullptr : given.cache.c_str();
  RoadWarp road(road_warp_model, ROAD_WARP_SELFTEST_BYTES, options, given.models);
  CabinWarp cabin(cabin_warp_model, CABIN_WARP_SELFTEST_BYTES, options, given.models);
  Driving driving(driving_model, DRIVING_SELFTEST_BYTES, options, given.models);
  Monitoring monitoring(monitoring_model, MONITORING_SELFTEST_BYTES, options, given.models);

  // What the warps write is what the models read.
  const Memory road_images = buffer(context.get(), CL_MEM_READ_WRITE, road_warp_model.model.outputs[0].bytes);
  const Memory cabin_images = buffer(context.get(), CL_MEM_READ_WRITE, cabin_warp_model.model.outputs[0].bytes);
  std::array<float, 9> road_transform, cabin_transform;
  std::vector<float> desire(DRIVING_DESIRE_COUNT), traffic = {1, 0}, plan(DRIVING_OUTPUTS_COUNT);
  std::vector<float> seen(monitoring_model.model.outputs[0].bytes / sizeof(float));
  road.check(road_warp_bind_transform(&road, road_transform.data()), "transform");
  road.check(road_warp_bind_output_memory(&road, ROAD_WARP_IMAGES_INDEX, road_images.get(), 0), "images");
  cabin.check(cabin_warp_bind_transform(&cabin, cabin_transform.data()), "transform");
  cabin.check(cabin_warp_bind_output_memory(&cabin, CABIN_WARP_IMAGES_INDEX, cabin_images.get(), 0), "images");
  driving.check(driving_bind_input_memory(&driving, DRIVING_INPUT_IMGS_INDEX, road_images.get(), 0), "input_imgs");
  driving.check(driving_bind_desire(&driving, desire.data()), "desire");
  driving.check(driving_bind_traffic_convention(&driving, traffic.data()), "traffic_convention");
  driving.check(driving_bind_outputs(&driving, plan.data()), "outputs");
  monitoring.check(monitoring_bind_input_memory(&monitoring, 0, cabin_images.get(), 0), "input");
  monitoring.check(monitoring_bind_output(&monitoring, 0, seen.data()), "outputs");

  const std::chrono::nanoseconds period(static_cast<int64_t>(1e9 / given.rate));
  Camera camera(context.get(), device, kWidth, kHeight, period, given.frames);
  for (uint32_t slot = 0; slot < Camera::kSlots; ++slot) {  // each buffer of the ring is bound once
    road.check(road_warp_select(&road, slot), "slot");
    road.check(road_warp_bind_input_memory(&road, ROAD_WARP_FRAME_INDEX, camera.buffer(slot), 0), "frame");
    cabin.check(cabin_warp_select(&cabin, slot), "slot");
    cabin.check(cabin_warp_bind_input_memory(&cabin, CABIN_WARP_FRAME_INDEX, camera.buffer(slot), 0), "frame");
  }

  Latencies looking, watching;
  uint64_t dropped = 0, expected = 0;
  const auto height = static_cast<float>(2 * road_warp_model.model.outputs[0].shape[2]);
  const auto width = static_cast<float>(2 * road_warp_model.model.outputs[0].shape[3]);
  while (const std::optional<Frame> frame = camera.next()) {
    dropped += frame->id - expected;
    expected = frame->id + 1;
    road_transform = cabin_transform = transform(frame->id, width, height);
    cl_event driven = nullptr, watched = nullptr;
    road.check(road_warp_select(&road, frame->slot), "slot");
    road.check(road_warp_enqueue(&road, 0, nullptr, nullptr), "road_warp");
    driving.check(driving_enqueue(&driving, 0, nullptr, &driven), "driving");
    const Event driven_owner(driven);
    cabin.check(cabin_warp_select(&cabin, frame->slot), "slot");
    cabin.check(cabin_warp_enqueue(&cabin, 0, nullptr, nullptr), "cabin_warp");
    monitoring.check(monitoring_enqueue(&monitoring, 0, nullptr, &watched), "monitoring");
    const Event watched_owner(watched);
    require(clWaitForEvents(1, &driven), "clWaitForEvents");
    looking.add(frame->taken);
    require(clWaitForEvents(1, &watched), "clWaitForEvents");
    watching.add(frame->taken);
    if (!finite(plan) || !finite(seen)) throw std::runtime_error("an output is not finite");
  }
  looking.print("driving", 1e3 / given.rate);
  watching.print("monitoring", 1e3 / given.rate);
  std::printf("%llu of %llu frames were dropped\n", static_cast<unsigned long long>(dropped), static_cast<unsigned long long>(given.frames));
  return 0;
}

}  // namespace

int main(int argc, char **argv) {
  try {
    return run(parsed(argc, argv));
  } catch (const std::exception &error) {
    std::fprintf(stderr, "openpilot_app: %s\n", error.what());
    return 1;
  }
}
