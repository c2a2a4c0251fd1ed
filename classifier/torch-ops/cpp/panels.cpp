// Linear layers in float32 as products with panels of 64 outputs, which lie one after the other in memory.
//
// With the few rows of one prompt a product is bound by reading the weights. oneDNN's own linear layer reads them at a
// third of the speed at which memory gives them; its micro-kernel, called panel by panel, reads straight on.

#include "panels.h"

#include <algorithm>

#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/zeros.h>
#include <ATen/native/CPUBlas.h>

namespace torch_ops {

namespace {

// Outputs of a panel: four vectors of AVX512.
constexpr int64_t kWidth = 64;

// Rows of a call. libtorch compiles a kernel for each number of rows it is called with, and keeps it: this bounds how many.
constexpr int64_t kRows = 64;

// Adds input [rows, inputs] times weight to output [rows, outputs].
void add_product(const at::Tensor& input, const at::Tensor& panels, at::Tensor& output) {
  const int64_t rows = input.size(0), inputs = input.size(1), outputs = output.size(1);
  const float* weight = panels.const_data_ptr<float>();
  for (int64_t column = 0; column < outputs; column += kWidth, weight += inputs * kWidth) {
    for (int64_t row = 0; row < rows; row += kRows) {
      at::native::cpublas::brgemm(std::min(kRows, rows - row), kWidth, inputs, inputs, kWidth, outputs, true,
                                  input.const_data_ptr<float>() + row * inputs, weight,
                                  output.mutable_data_ptr<float>() + row * outputs + column);
    }
  }
}

// Whether this processor and this libtorch have the micro-kernel.
bool supported() {
  static const bool works = [] {
    at::Tensor one = at::zeros({1, kWidth}), panel = at::zeros({1, kWidth, kWidth}), output = at::zeros({1, kWidth});
    try {
      add_product(one, panel, output);
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }();
  return works;
}

}  // namespace

std::optional<at::Tensor> pack_panels(const at::Tensor& weight) {
  const bool fits = weight.dim() == 2 && weight.scalar_type() == at::kFloat && weight.device().is_cpu() &&
                    weight.size(0) % kWidth == 0;
  if (!fits || !supported()) return std::nullopt;
  // [outputs, inputs] → [panels, inputs, outputs of a panel]
  return weight.view({weight.size(0) / kWidth, kWidth, weight.size(1)}).transpose(1, 2).contiguous();
}

at::Tensor apply_panels(const at::Tensor& input, const at::Tensor& panels, const std::optional<at::Tensor>& bias,
                        const std::optional<at::Tensor>& addend) {
  const int64_t inputs = panels.size(1), outputs = panels.size(0) * kWidth;
  TORCH_CHECK(input.scalar_type() == at::kFloat && input.device().is_cpu() && input.dim() > 0 &&
                  input.size(-1) == inputs,
              "a linear layer of ", inputs, " float32 inputs on CPU cannot take ", input.toString(), input.sizes());
  check_bias(bias, outputs, at::kFloat);
  TORCH_CHECK(!addend.has_value() || (addend->scalar_type() == at::kFloat && addend->device().is_cpu()),
              "what is added must be float32 on the CPU");
  const at::Tensor rows = input.reshape({-1, inputs}).contiguous();
  at::Tensor output;
  if (addend.has_value()) {
    const at::Tensor start = addend->reshape({rows.size(0), outputs});
    output = (bias.has_value() ? at::add(start, *bias) : start.clone()).contiguous();
  } else if (bias.has_value()) {
    output = at::empty({rows.size(0), outputs}, input.options());
    output.copy_(bias->expand({rows.size(0), outputs}));
  } else {
    output = at::zeros({rows.size(0), outputs}, input.options());
  }
  add_product(rows, panels, output);
  auto shape = input.sizes().vec();
  shape.back() = outputs;
  return output.view(shape);
}

}  // namespace torch_ops
