// Runs a compiled supercombo for 100 frames as a driving app would: the state that comes out goes in again with the next frame.
//
//   supercombo_app supercombo.weights [frames]
//
// Prints the mean, 99th percentile and worst time of a frame. Exit status 0, or 1 where something is wrong.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "supercombo.h"

namespace {

constexpr size_t kState = 512;

struct Free {
  void operator()(void *memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, Free>;

// `bytes` bytes, aligned as the model asks for; the size is rounded up because aligned_alloc wants a multiple.
Memory allocate(const tgc_model &model, uint64_t bytes) {
  const size_t alignment = model.alignment;
  return Memory(std::aligned_alloc(alignment, (std::max<uint64_t>(bytes, 1) + alignment - 1) / alignment * alignment));
}

Memory read_weights(const tgc_model &model, const char *path) {
  Memory memory = allocate(model, model.weights_bytes);
  std::ifstream file(path, std::ios::binary);
  if (!memory || !file.read(static_cast<char *>(memory.get()), static_cast<std::streamsize>(model.weights_bytes))) return nullptr;
  return memory;
}

int find(const tgc_tensor *tensors, uint32_t count, const char *name) {
  for (uint32_t i = 0; i < count; ++i)
    if (std::strcmp(tensors[i].name, name) == 0) return static_cast<int>(i);
  return -1;
}

// Camera pixels are 0 to 255; everything else stays 0 but the traffic convention, which is one-hot.
void fill_inputs(const tgc_model &model, std::vector<std::vector<float>> &inputs, std::mt19937 &random) {
  std::uniform_int_distribution<int> pixel(0, 255);
  for (uint32_t i = 0; i < model.input_count; ++i) {
    if (std::strstr(model.inputs[i].name, "input_imgs") != nullptr)
      for (float &value : inputs[i]) value = static_cast<float>(pixel(random));
    else if (std::strcmp(model.inputs[i].name, "traffic_convention") == 0)
      inputs[i][0] = 1.0f;
  }
}

void report(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  double sum = 0.0;
  for (double time : times) sum += time;
  const size_t rank = (times.size() * 99 + 99) / 100 - 1;
  std::printf("%zu frames: mean %.3f ms, p99 %.3f ms, worst %.3f ms\n", times.size(), sum / static_cast<double>(times.size()), times[rank],
              times.back());
}

int fail(const char *what) {
  std::fprintf(stderr, "supercombo_app: %s\n", what);
  return 1;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc < 2) return fail("usage: supercombo_app supercombo.weights [frames]");
  const int frames = argc > 2 ? std::max(1, std::atoi(argv[2])) : 100;
  const tgc_model &model = supercombo_model;
  const int state = find(model.inputs, model.input_count, "initial_state");
  if (state < 0 || model.output_count != 1) return fail("this is not supercombo");

  const Memory weights = model.weights ? nullptr : read_weights(model, argv[1]);
  const void *weight_bytes = model.weights ? model.weights : weights.get();
  if (weight_bytes == nullptr) return fail("cannot read the weights");
  const Memory arena = allocate(model, model.arena_bytes);

  std::vector<std::vector<float>> inputs;
  std::vector<const void *> input_pointers;
  for (uint32_t i = 0; i < model.input_count; ++i) inputs.emplace_back(model.inputs[i].bytes / sizeof(float));
  for (const auto &input : inputs) input_pointers.push_back(input.data());
  std::vector<float> output(model.outputs[0].bytes / sizeof(float));
  void *const output_pointers[] = {output.data()};

  std::mt19937 random(0);
  std::vector<double> times;
  for (int frame = 0; frame < frames; ++frame) {
    fill_inputs(model, inputs, random);
    const auto start = std::chrono::steady_clock::now();
    if (model.run(weight_bytes, arena.get(), input_pointers.data(), output_pointers) != TGC_OK) return fail("a frame failed");
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    if (!std::all_of(output.begin(), output.end(), [](float value) { return std::isfinite(value); })) return fail("an output is not finite");
    std::copy(output.end() - kState, output.end(), inputs[static_cast<size_t>(state)].begin());
  }
  report(times);
  return 0;
}
