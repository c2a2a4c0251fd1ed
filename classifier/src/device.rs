//! Chooses device and precision, and makes CUDA available to a binary that is linked to libtorch's CPU parts only.

use anyhow::{Result, bail};
use tch::{Cuda, Device, Kind};

/// Where the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum DeviceChoice {
    /// CUDA if available, else CPU.
    Auto,
    /// CPU.
    Cpu,
    /// The first CUDA device; an error without one.
    Cuda,
}

/// The configured precision of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum PrecisionChoice {
    /// The fastest precision that changes predictions only by rounding: fp16 on CUDA, bf16 on CPUs that
    /// multiply it in hardware (x86 with AVX512-BF16), else fp32.
    Auto,
    /// 32 bits.
    Fp32,
    /// 16 bits, with the range of fp32 and 8 significant bits.
    Bf16,
    /// 16 bits, 11 of them significant; CUDA only.
    Fp16,
}

/// Numeric precision of the encoder. Heads always compute in fp32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// float32.
    Fp32,
    /// bfloat16.
    Bf16,
    /// float16.
    Fp16,
}

/// The device and precision of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    /// The device.
    pub device: Device,
    /// The precision.
    pub precision: Precision,
}

impl From<Device> for Compute {
    /// In fp32.
    fn from(device: Device) -> Self {
        Self { device, precision: Precision::Fp32 }
    }
}

impl Precision {
    /// libtorch's name for it.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Fp32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::Fp16 => Kind::Half,
        }
    }
}

impl PrecisionChoice {
    /// The precision on this device.
    ///
    /// # Errors
    /// If the device does not support it.
    pub fn on(self, device: Device) -> Result<Precision> {
        Ok(match (self, device) {
            (Self::Auto, Device::Cpu) if multiplies_bf16() => Precision::Bf16,
            (Self::Auto, Device::Cpu) | (Self::Fp32, _) => Precision::Fp32,
            (Self::Fp16, Device::Cpu) => {
                bail!("--precision fp16 needs CUDA; use fp32 or bf16 on CPU")
            }
            (Self::Auto | Self::Fp16, _) => Precision::Fp16,
            (Self::Bf16, _) => Precision::Bf16,
        })
    }
}

/// Whether this CPU has instructions for products of bf16 matrices. Those with AMX-BF16 have AVX512-BF16 too.
#[cfg(target_arch = "x86_64")]
fn multiplies_bf16() -> bool {
    std::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn multiplies_bf16() -> bool {
    false
}

/// Finds the device and sets libtorch to one thread per operation, because workers run in parallel.
///
/// # Errors
/// If CUDA is requested and not available.
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
        (_, loaded) => {
            warn_of_idle_gpu(loaded.err());
            Ok(Device::Cpu)
        }
    }
}

/// Warns users with a GPU if the CPU is used.
fn warn_of_idle_gpu(error: Option<libloading::Error>) {
    // The driver creates this device; containers with GPUs have it, too.
    if std::path::Path::new("/dev/nvidiactl").exists() {
        let reason = error.map_or_else(|| "libtorch finds no CUDA device".to_owned(), |it| it.to_string());
        tracing::warn!(reason, "an NVIDIA driver is installed, but the model runs on the CPU");
    }
}

/// Loads libtorch's CUDA part, which registers itself. It must be loaded before the first check for CUDA,
/// because libtorch caches the result until the process ends.
fn load_cuda() -> Result<(), libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: the library's initialisers only register kernels with the libtorch that is already loaded, whose tables of
    // kernels have a lock. Other threads may run by now, but none of them uses libtorch before the device is chosen.
    #[allow(unsafe_code)]
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) }?;
    // Unloading it would remove kernels that libtorch calls until the process ends.
    std::mem::forget(library);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_precision_is_an_error() {
        assert_eq!(PrecisionChoice::Bf16.on(Device::Cpu).unwrap(), Precision::Bf16);
        assert_eq!(PrecisionChoice::Fp32.on(Device::Cuda(0)).unwrap(), Precision::Fp32);
        assert_eq!(PrecisionChoice::Auto.on(Device::Cuda(0)).unwrap(), Precision::Fp16);
        assert!(PrecisionChoice::Fp16.on(Device::Cpu).is_err());
    }
}
