#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

namespace torch_ops {

// The weight [outputs, inputs] as panels; none if it, the processor or libtorch is not fit for them.
std::optional<at::Tensor> pack_panels(const at::Tensor& weight);

// input · weightᵀ + bias + addend, of the input's shape but for the last dimension.
at::Tensor apply_panels(const at::Tensor& input, const at::Tensor& panels, const std::optional<at::Tensor>& bias,
                        const std::optional<at::Tensor>& addend);

}  // namespace torch_ops
