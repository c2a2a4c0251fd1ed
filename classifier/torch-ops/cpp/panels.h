#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

namespace torch_ops {

// Throws unless the bias, if there is one, has a number of this type in CPU memory for each output: kernels read as many.
inline void check_bias(const std::optional<at::Tensor>& bias, int64_t outputs, at::ScalarType type) {
  TORCH_CHECK(!bias.has_value() || (bias->dim() == 1 && bias->size(0) == outputs && bias->scalar_type() == type &&
                                    bias->layout() == at::kStrided && bias->device().is_cpu()),
              "the bias must have ", outputs, " numbers of type ", type, " on the CPU");
}

// The weight [outputs, inputs] as panels; none if the weight's shape, the processor or libtorch does not support them.
std::optional<at::Tensor> pack_panels(const at::Tensor& weight);

// input · weightᵀ + bias + addend, of the input's shape but for the last dimension.
at::Tensor apply_panels(const at::Tensor& input, const at::Tensor& panels, const std::optional<at::Tensor>& bias,
                        const std::optional<at::Tensor>& addend);

// The same in bfloat16; none on processors without AMX.
std::optional<at::Tensor> pack_panels_bf16(const at::Tensor& weight);

// The same in bfloat16, and GELU of the sum of product and bias if `gelu`.
at::Tensor apply_panels_bf16(const at::Tensor& input, const at::Tensor& panels, const std::optional<at::Tensor>& bias,
                             const std::optional<at::Tensor>& addend, bool gelu);

}  // namespace torch_ops
