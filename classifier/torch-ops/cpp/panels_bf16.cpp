// Linear layers in bfloat16 as products with panels of 128 outputs, as panels.cpp has them in float32.
//
// What follows a product, bias, GELU or residual, is done while its columns are in the first cache. With the few rows of
// one prompt, finding and describing oneDNN's own linear layer takes libtorch as long as the product itself. With
// hundreds of rows, oneDNN is faster by a tenth.

#include "panels.h"

#include <algorithm>

#include <ATen/ops/empty.h>
#include <ATen/native/CPUBlas.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define TORCH_OPS_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#endif

namespace torch_ops {

namespace {

constexpr int64_t kWidth = 128;

// Rows of a call; bounds how many kernels libtorch compiles.
constexpr int64_t kRows = 64;

// Rows of the weight that lie side by side, as the instructions take them.
constexpr int64_t kPair = 2;

#if defined(__x86_64__)

TORCH_OPS_BF16 __m512 load(const at::BFloat16* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

TORCH_OPS_BF16 void store(at::BFloat16* to, __m512 numbers) {
  const __m256bh bits = _mm512_cvtneps_pbh(numbers);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<const __m256i&>(bits));
}

// e to the power of numbers that are not above 0: 2 to the whole part of x / ln 2, times Taylor's polynomial of the rest.
TORCH_OPS_BF16 __m512 exponential(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
  const __m512 rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.69314718f), x);
  __m512 power = _mm512_set1_ps(1.0f / 120.0f);
  for (const float coefficient : {1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f}) {
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(coefficient));
  }
  return _mm512_scalef_ps(power, whole);
}

// x · Φ(x), with the error function of Abramowitz and Stegun, 7.1.26, which is off by 1.5e-7 at most.
TORCH_OPS_BF16 __m512 gelu(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
  // 14 bits, where what is stored has 8.
  const __m512 t = _mm512_rcp14_ps(_mm512_fmadd_ps(_mm512_set1_ps(0.3275911f), z, one));
  __m512 series = _mm512_set1_ps(1.061405429f);
  for (const float coefficient : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) {
    series = _mm512_fmadd_ps(series, t, _mm512_set1_ps(coefficient));
  }
  // Not further down, where numbers are denormal, which slows down all that is done with them.
  const __m512 exponent = _mm512_max_ps(_mm512_fnmadd_ps(z, z, _mm512_setzero_ps()), _mm512_set1_ps(-80.0f));
  const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(series, t), exponential(exponent));
  // |x| · erf(|x| / √2), which is even, as x · erf(x / √2) is.
  const __m512 odd = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_sub_ps(one, tail));
  return _mm512_mul_ps(_mm512_set1_ps(0.5f), _mm512_add_ps(x, odd));
}

// What is done with the products [rows, 128] before they are stored in columns of output [rows, outputs].
struct Finish {
  const at::BFloat16* bias;
  const at::BFloat16* addend;
  bool gelu;
};

TORCH_OPS_BF16 void finish(const Finish& step, const float* products, int64_t rows, int64_t outputs, int64_t offset,
                           int64_t column, at::BFloat16* output) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t lane = 0; lane < kWidth; lane += 16) {
      const int64_t place = (offset + row) * outputs + column + lane;
      __m512 numbers = _mm512_loadu_ps(products + row * kWidth + lane);
      if (step.bias != nullptr) numbers = _mm512_add_ps(numbers, load(step.bias + column + lane));
      if (step.gelu) numbers = gelu(numbers);
      if (step.addend != nullptr) numbers = _mm512_add_ps(numbers, load(step.addend + place));
      store(output + place, numbers);
    }
  }
}

// input [rows, inputs] times the panels, finished, to output [rows, outputs].
void multiply(const at::Tensor& input, const at::Tensor& panels, const Finish& step, at::Tensor& output) {
  const int64_t rows = input.size(0), inputs = input.size(1), outputs = output.size(1);
  const auto* weight = panels.const_data_ptr<at::BFloat16>();
  const auto* from = input.const_data_ptr<at::BFloat16>();
  auto* to = output.mutable_data_ptr<at::BFloat16>();
  alignas(64) float products[kRows * kWidth];
  for (int64_t column = 0; column < outputs; column += kWidth, weight += inputs * kWidth) {
    for (int64_t row = 0; row < rows; row += kRows) {
      const int64_t some = std::min(kRows, rows - row);
      at::native::cpublas::brgemm(some, kWidth, inputs, inputs, kWidth, kWidth, false, from + row * inputs, weight,
                                  products);
      finish(step, products, some, outputs, row, column, to);
    }
  }
  at::native::cpublas::brgemm_release();
}

// Whether this processor and this libtorch have the micro-kernel.
bool supported() {
  static const bool works = [] {
    if (!__builtin_cpu_supports("avx512bf16") || !at::native::cpublas::could_pack(at::kBFloat16)) return false;
    const auto options = at::TensorOptions(at::kBFloat16);
    at::Tensor one = at::empty({1, kWidth}, options), panel = at::empty({1, kWidth / kPair, kWidth, kPair}, options);
    one.zero_();
    panel.zero_();
    at::Tensor output = at::empty({1, kWidth}, options);
    try {
      multiply(one, panel, {}, output);
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }();
  return works;
}

#else

struct Finish {
  const at::BFloat16* bias;
  const at::BFloat16* addend;
  bool gelu;
};

void multiply(const at::Tensor&, const at::Tensor&, const Finish&, at::Tensor&) {
  TORCH_CHECK(false, "this processor has no micro-kernel for bfloat16");
}

bool supported() { return false; }

#endif

}  // namespace

std::optional<at::Tensor> pack_panels_bf16(const at::Tensor& weight) {
  const bool fits = weight.dim() == 2 && weight.scalar_type() == at::kBFloat16 && weight.device().is_cpu() &&
                    weight.size(0) % kWidth == 0 && weight.size(1) % kPair == 0;
  if (!fits || !supported()) return std::nullopt;
  // [outputs, inputs] → [panels, pairs of inputs, outputs of a panel, inputs of a pair]
  return weight.view({weight.size(0) / kWidth, kWidth, weight.size(1) / kPair, kPair}).transpose(1, 2).contiguous();
}

at::Tensor apply_panels_bf16(const at::Tensor& input, const at::Tensor& panels, const std::optional<at::Tensor>& bias,
                             const std::optional<at::Tensor>& addend, bool gelu) {
  const int64_t inputs = panels.size(1) * kPair, outputs = panels.size(0) * kWidth;
  const auto fits = [](const at::Tensor& tensor) {
    return tensor.scalar_type() == at::kBFloat16 && tensor.device().is_cpu();
  };
  TORCH_CHECK(fits(input) && input.dim() > 0 && input.size(-1) == inputs, "a linear layer of ", inputs,
              " bfloat16 inputs on CPU cannot take ", input.toString(), input.sizes());
  check_bias(bias, outputs, at::kBFloat16);
  const at::Tensor rows = input.reshape({-1, inputs}).contiguous();
  TORCH_CHECK(!addend.has_value() || (fits(*addend) && addend->numel() == rows.size(0) * outputs),
              "what is added must be bfloat16 and of the output's shape");
  const at::Tensor start = bias.has_value() ? bias->contiguous() : at::Tensor();
  const at::Tensor added = addend.has_value() ? addend->contiguous() : at::Tensor();
  const auto numbers = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.const_data_ptr<at::BFloat16>() : nullptr;
  };
  auto shape = input.sizes().vec();
  shape.back() = outputs;
  at::Tensor output = at::empty({rows.size(0), outputs}, input.options());
  multiply(rows, panels, {numbers(start), numbers(added), gelu}, output);
  return output.view(shape);
}

}  // namespace torch_ops
