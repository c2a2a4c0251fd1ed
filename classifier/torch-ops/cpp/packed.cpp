// Linear layers with weights packed for the CPU: as panels, or by oneDNN, whose operators are reached through libtorch's
// dispatcher by their registered names. Only oneDNN's packed weights are of libtorch's type "mkldnn".
//
// Every function returns null, or a message that the caller frees with `torch_ops_free`: an exception must not reach
// Rust. Tensors are those of torch-sys: pointers to `at::Tensor` on the heap, owned by the caller.

#include <cstdlib>
#include <optional>
#include <string_view>

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/gelu.h>

#include "guarded.h"
#include "panels.h"

namespace {

template <typename Signature>
c10::TypedOperatorHandle<Signature> find(const char* name, const char* overload) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

std::optional<at::Tensor> optional(const at::Tensor* tensor) {
  return tensor == nullptr ? std::nullopt : std::make_optional(*tensor);
}

bool is_bf16_panels(const at::Tensor& weight) {
  return !weight.is_mkldnn() && weight.scalar_type() == at::kBFloat16;
}

}  // namespace

extern "C" {

void torch_ops_free(char* message) { free(message); }

char* torch_ops_pack(const at::Tensor* weight, at::Tensor** packed) {
  return guarded([&] {
    auto panels = torch_ops::pack_panels(*weight);
    if (!panels.has_value()) panels = torch_ops::pack_panels_bf16(*weight);
    if (panels.has_value()) {
      *packed = new at::Tensor(std::move(*panels));
      return;
    }
    using Pack = at::Tensor(const at::Tensor&, std::optional<c10::SymInt>);
    static const auto pack = find<Pack>("mkldnn::_reorder_linear_weight", "");
    *packed = new at::Tensor(pack.call(*weight, std::nullopt));
  });
}

char* torch_ops_linear(const at::Tensor* input, const at::Tensor* weight, const at::Tensor* bias, bool gelu,
                       at::Tensor** output) {
  return guarded([&] {
    if (is_bf16_panels(*weight)) {
      *output = new at::Tensor(torch_ops::apply_panels_bf16(*input, *weight, optional(bias), std::nullopt, gelu));
      return;
    }
    if (!weight->is_mkldnn()) {
      at::Tensor result = torch_ops::apply_panels(*input, *weight, optional(bias), std::nullopt);
      if (gelu) at::gelu_(result, "none");
      *output = new at::Tensor(std::move(result));
      return;
    }
    using Linear = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                              std::string_view, c10::List<std::optional<at::Scalar>>,
                              std::optional<std::string_view>);
    static const auto linear = find<Linear>("mkldnn::_linear_pointwise", "");
    torch_ops::check_bias(optional(bias), weight->size(0), weight->scalar_type());
    const c10::List<std::optional<at::Scalar>> scalars;
    *output = new at::Tensor(linear.call(*input, *weight, optional(bias), gelu ? "gelu" : "none", scalars,
                                         gelu ? std::make_optional<std::string_view>("none") : std::nullopt));
  });
}

char* torch_ops_linear_add(const at::Tensor* input, const at::Tensor* weight, const at::Tensor* bias,
                           const at::Tensor* addend, at::Tensor** output) {
  return guarded([&] {
    if (is_bf16_panels(*weight)) {
      *output = new at::Tensor(torch_ops::apply_panels_bf16(*input, *weight, optional(bias), *addend, false));
      return;
    }
    if (!weight->is_mkldnn()) {
      *output = new at::Tensor(torch_ops::apply_panels(*input, *weight, optional(bias), *addend));
      return;
    }
    torch_ops::check_bias(optional(bias), weight->size(0), weight->scalar_type());
    // oneDNN would read past the end of a smaller addend.
    TORCH_CHECK(addend->scalar_type() == input->scalar_type() && addend->device().is_cpu() &&
                    addend->dim() == input->dim() && addend->size(-1) == weight->size(0) &&
                    addend->numel() * input->size(-1) == input->numel() * addend->size(-1),
                "cannot add ", addend->sizes(), " to the product of ", input->sizes(), " with ", weight->sizes());
    using LinearAdd = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                 const std::optional<at::Tensor>&, std::string_view);
    static const auto linear = find<LinearAdd>("mkldnn::_linear_pointwise", "binary");
    *output = new at::Tensor(linear.call(*input, *addend, *weight, optional(bias), "add"));
  });
}

}  // extern "C"
