#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

namespace torch_ops {

// The weight [outputs, inputs] as panels; none if it, the processor or libtorch is not fit for them.
std::optional<at::Tensor> pack_panels(const at::Tensor& weight);

// input · weightᵀ + bias + addend, of the input's shape but for the last dimension.
at::Tensor apply_panels(const at::Tensor& input, const at::Tensor& panels, const std::optional<at::Tensor>& bias,
                        const std::optional<at::Tensor>& addend);

// The same in bfloat16: none where there is no AMX.
std::optional<at::Tensor> pack_panels_bf16(const at::Tensor& weight);

// The same in bfloat16, and GELU of the sum of product and bias if `gelu`.
at::Tensor apply_panels_bf16(const at::Tensor& input, const at::Tensor& panels, const std::optional<at::Tensor>& bias,
                             const std::optional<at::Tensor>& addend, bool gelu);

}  // namespace torch_ops
