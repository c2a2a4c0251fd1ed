//! The C functions of `cpp/`.

use std::ffi::{CStr, c_char};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use super::OpError;

unsafe extern "C" {
    fn torch_ops_free(message: *mut c_char);
    pub(super) safe fn torch_ops_release_free_memory();
    pub(super) fn torch_ops_copy_non_blocking(to: *const C_tensor, from: *const C_tensor) -> *mut c_char;
    pub(super) fn torch_ops_pack(weight: *const C_tensor, packed: *mut *mut C_tensor) -> *mut c_char;
    pub(super) fn torch_ops_linear(
        input: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        gelu: bool,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn torch_ops_linear_add(
        input: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        addend: *const C_tensor,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// The tensor as C++ sees it, valid as long as the borrow.
pub(super) fn handle(tensor: &Tensor) -> *const C_tensor {
    tensor.as_ptr()
}

/// Calls a function that writes a new tensor to its argument, or returns what went wrong.
pub(super) fn call(function: impl FnOnce(*mut *mut C_tensor) -> *mut c_char) -> Result<Tensor, OpError> {
    let mut output = null_mut();
    check(function(&raw mut output))?;
    // SAFETY: without a message the function has written a tensor, which nobody else owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}

/// The error in a function's message, if there is one.
pub(super) fn check(message: *mut c_char) -> Result<(), OpError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message is a C string from `strdup`, which is ours to free, once.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        torch_ops_free(message);
        Err(OpError(text))
    }
}
