// What every function that Rust calls is wrapped in.

#pragma once

#include <cstring>
#include <exception>

// Null, or why the function threw, from `strdup`, which the caller frees: an exception must not reach Rust.
template <typename Function>
char* guarded(Function function) {
  try {
    function();
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("not a standard exception");
  }
}
