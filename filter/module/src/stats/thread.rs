//! A thread that does not keep Envoy from unloading the module.
//!
//! `std::thread` registers a destructor with the thread that calls it, here Envoy's main thread. A module with such a destructor
//! stays loaded until that thread ends.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// A thread that runs one function.
#[derive(Debug)]
pub(super) struct Thread(libc::pthread_t);

/// What a new thread gets.
struct Start {
    run: fn(u64),
    argument: u64,
}

impl Thread {
    /// Runs the function with this argument.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(run: fn(u64), argument: u64) -> io::Result<Self> {
        let start = Box::into_raw(Box::new(Start { run, argument }));
        let mut thread = MaybeUninit::uninit();
        // SAFETY: the new thread owns `start`.
        let error = unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), main, start.cast()) };
        if error == 0 {
            // SAFETY: pthread_create has succeeded, and so set it.
            return Ok(Self(unsafe { thread.assume_init() }));
        }
        // SAFETY: there is no new thread.
        drop(unsafe { Box::from_raw(start) });
        Err(io::Error::from_raw_os_error(error))
    }

    /// Waits until it has ended.
    pub(super) fn join(self) {
        // SAFETY: it was started, and is joined once.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
    }
}

extern "C" fn main(start: *mut c_void) -> *mut c_void {
    // SAFETY: `Thread::start` passes what it made of a box.
    let Start { run, argument } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    crate::guard::run(|| run(argument), || ());
    ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_thread_has_run_when_it_is_joined() {
        static SEEN: AtomicU64 = AtomicU64::new(0);
        Thread::start(|argument| SEEN.store(argument, Ordering::SeqCst), 7).unwrap().join();
        assert_eq!(SEEN.load(Ordering::SeqCst), 7);
    }
}
