// Copies between the memories of CPU and GPU without waiting for them, which tch's `copy_` does.

#include <ATen/core/Tensor.h>

#include "guarded.h"

extern "C" char* torch_ops_copy(const at::Tensor* to, const at::Tensor* from) {
  return guarded([&] {
    at::Tensor target = *to;
    target.copy_(*from, /*non_blocking=*/true);
  });
}
