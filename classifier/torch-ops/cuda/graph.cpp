// CUDA graphs: a forward pass recorded once, and launched again as a whole.
//
// A library of its own, because it needs libtorch's CUDA part, which the program loads at run time if there is any.
// Every function returns null, or a message from `strdup`, which the caller frees: an exception must not reach Rust.

#include <cstdlib>
#include <memory>

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include "../cpp/guarded.h"

namespace {

using at::cuda::CUDAGraph;

}  // namespace

extern "C" {

// Gives the calling thread a stream of its own: the default stream cannot be recorded. Waits for what was queued
// before, as the weights' copies.
char* cuda_graph_own_stream() {
  return guarded([] {
    c10::cuda::device_synchronize();
    c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromPool());
  });
}

// From here to the end, the calling thread's work is recorded instead of done. `sibling` is null, or a graph whose
// memory this one may use, too: they are never launched at the same time. Other threads may go on using the GPU.
char* cuda_graph_begin(CUDAGraph* sibling, CUDAGraph** graph) {
  return guarded([&] {
    auto made = std::make_unique<CUDAGraph>();
    const c10::MempoolId_t none = {0, 0};
    made->capture_begin(sibling == nullptr ? none : sibling->pool(), cudaStreamCaptureModeThreadLocal);
    *graph = made.release();
  });
}

char* cuda_graph_end(CUDAGraph* graph) {
  return guarded([&] { graph->capture_end(); });
}

// Queues the recorded work.
char* cuda_graph_launch(CUDAGraph* graph) {
  return guarded([&] { graph->replay(); });
}

// Waits for what the calling thread has queued.
char* cuda_graph_synchronize() {
  return guarded([] { c10::cuda::getCurrentCUDAStream().synchronize(); });
}

void cuda_graph_free(CUDAGraph* graph) {
  // Its destructor may throw if the device failed, and then there is nothing left to free.
  free(guarded([&] { delete graph; }));
}

}  // extern "C"
