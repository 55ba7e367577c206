// Runs a compiled supercombo frame by frame, as a driving app would: the state that comes out goes in again with the next frame.
//
//   supercombo_app supercombo.weights [frames]
//
// Prints the mean, 99th percentile and worst time of a frame. Exit status 0, or 1 where something is wrong.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "supercombo.h"

namespace {

// The memory that the model works in: the app's own, aligned as the header says.
struct Aligned {
  void operator()(unsigned char *memory) const { ::operator delete(memory, std::align_val_t{SUPERCOMBO_ALIGNMENT}); }
};
using Arena = std::unique_ptr<unsigned char, Aligned>;

Arena make_arena() {
  return Arena(static_cast<unsigned char *>(::operator new(SUPERCOMBO_ARENA_BYTES + 1, std::align_val_t{SUPERCOMBO_ALIGNMENT})));
}

// Two YUV frames; a real app would point the model at what the camera wrote.
void next_frame(std::vector<float> &images, std::mt19937 &random) {
  std::uniform_int_distribution<int> pixel(0, 255);
  for (float &value : images) value = static_cast<float>(pixel(random));
}

void report(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  double sum = 0.0;
  for (const double time : times) sum += time;
  const size_t rank = (times.size() * 99 + 99) / 100 - 1;
  std::printf("%zu frames: mean %.2f ms, p99 %.2f ms, worst %.2f ms\n", times.size(), sum / static_cast<double>(times.size()), times[rank],
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

  tgc_weights weights;
  if (tgc_weights_open(&weights, &supercombo_model, argv[1]) != TGC_OK) return fail("cannot read the weights");
  const Arena arena = make_arena();
  supercombo_context model;
  if (supercombo_init(&model, arena.get(), SUPERCOMBO_ARENA_BYTES, weights.data) != TGC_OK) return fail("cannot set up the model");

  std::vector<float> images(SUPERCOMBO_INPUT_IMGS_COUNT), desire(SUPERCOMBO_DESIRE_COUNT), state(SUPERCOMBO_INITIAL_STATE_COUNT);
  std::vector<float> traffic_convention = {1.0f, 0.0f}, outputs(SUPERCOMBO_OUTPUTS_COUNT);
  supercombo_bind_input_imgs(&model, images.data());
  supercombo_bind_desire(&model, desire.data());
  supercombo_bind_traffic_convention(&model, traffic_convention.data());
  supercombo_bind_initial_state(&model, state.data());
  supercombo_bind_outputs(&model, outputs.data());

  std::mt19937 random(0);
  std::vector<double> times;
  for (int frame = 0; frame < frames; ++frame) {
    next_frame(images, random);
    const auto start = std::chrono::steady_clock::now();
    if (supercombo_run(&model) != TGC_OK) return fail("a frame failed");
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    if (!std::all_of(outputs.begin(), outputs.end(), [](float value) { return std::isfinite(value); })) return fail("an output is not finite");
    std::copy(outputs.end() - static_cast<std::ptrdiff_t>(state.size()), outputs.end(), state.begin());
  }
  report(times);
  tgc_weights_close(&weights);
  return 0;
}
