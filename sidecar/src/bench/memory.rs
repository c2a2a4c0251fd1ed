//! The memory of this process.

use super::process::kilobytes;

/// The peak of resident memory in bytes, if the kernel reports it.
#[must_use]
pub fn peak_resident() -> Option<u64> {
    peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn peak(status: &str) -> Option<u64> {
    Some(kilobytes(status, "VmHWM:")? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_the_kernel_says() {
        assert_eq!(peak("VmPeak:\t  99 kB\nVmHWM:\t    12 kB\nVmRSS:\t 8 kB\n"), Some(12 * 1024));
        assert_eq!(peak("VmRSS:\t 8 kB\n"), None);
        let before = peak_resident().unwrap();
        let _touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(peak_resident().unwrap() >= before.max(64 << 20));
    }
}
