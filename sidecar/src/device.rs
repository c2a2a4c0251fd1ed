//! Chooses the device, and makes CUDA available to a binary that is linked to libtorch's CPU parts only.

use anyhow::{Result, bail};
use clap::ValueEnum;
use tch::{Cuda, Device};

/// Where the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// CUDA if there is any, else CPU.
    Auto,
    /// CPU.
    Cpu,
    /// The first CUDA device; an error if there is none.
    Cuda,
}

/// Finds the device and sets libtorch to one thread an operation, because workers run side by side.
///
/// # Errors
/// If CUDA is asked for and there is none.
pub fn select(choice: DeviceChoice) -> Result<Device> {
    tch::set_num_threads(1);
    if choice == DeviceChoice::Cpu {
        return Ok(Device::Cpu);
    }
    let loaded = load_cuda();
    if loaded.is_ok() && Cuda::is_available() {
        return Ok(Device::Cuda(0));
    }
    match (choice, loaded) {
        (DeviceChoice::Cuda, Err(error)) => bail!("--device cuda: cannot load libtorch_cuda.so: {error}"),
        (DeviceChoice::Cuda, Ok(())) => bail!("--device cuda: libtorch finds no CUDA device"),
        _ => Ok(Device::Cpu),
    }
}

/// Loads libtorch's CUDA part, which registers itself. It must come before libtorch is first asked whether there is
/// CUDA: the answer is kept for the process's life.
fn load_cuda() -> Result<(), libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: the library's initialisers only register kernels with the libtorch that is already loaded, and nothing
    // else runs yet that could see a half-made registration.
    #[allow(unsafe_code)]
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) }?;
    // Its kernels are called until the process ends.
    std::mem::forget(library);
    Ok(())
}
