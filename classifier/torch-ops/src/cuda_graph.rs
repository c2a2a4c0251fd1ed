//! CUDA graphs: work that is recorded once, and launched again as a whole. A GPU begins each of its kernels without
//! waiting for the CPU to name it, which takes longer than the kernel if the batch is small.

use std::error::Error;
use std::ffi::c_char;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::{OpError, ffi};

/// `cuda/graph.cpp`, compiled; empty if CUDA's headers were missing.
static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cuda_graph.so"));

/// What C++ has of a graph.
#[repr(C)]
struct RawGraph {
    _private: [u8; 0],
}

type Message = *mut c_char;

/// A thread's way to record on CUDA.
#[derive(Debug)]
pub struct Recorder {
    functions: Arc<Functions>,
}

/// The functions of the library.
#[derive(Debug)]
struct Functions {
    begin: unsafe extern "C" fn(*mut RawGraph, *mut *mut RawGraph) -> Message,
    end: unsafe extern "C" fn(*mut RawGraph) -> Message,
    launch: unsafe extern "C" fn(*mut RawGraph) -> Message,
    synchronize: unsafe extern "C" fn() -> Message,
    free: unsafe extern "C" fn(*mut RawGraph),
    /// What the functions are in.
    _library: Library,
}

/// Work that was recorded. The memory that it reads and writes stays what it was then.
#[derive(Debug)]
pub struct CudaGraph {
    raw: NonNull<RawGraph>,
    functions: Arc<Functions>,
}

impl Recorder {
    /// Makes the calling thread ready: from now on it works on a stream of its own. libtorch's CUDA part must be loaded,
    /// with its symbols for all to see.
    ///
    /// # Errors
    /// If this program was built without CUDA's headers, or libtorch's CUDA part is missing or another version.
    pub fn new() -> Result<Self, OpError> {
        let library = open()?;
        // SAFETY: the types are those in graph.cpp, and the functions stay loaded as long as the library, which is kept
        // beside them.
        let (functions, own_stream) = unsafe {
            let own_stream = *library.get::<unsafe extern "C" fn() -> Message>(b"cuda_graph_own_stream\0")?;
            let functions = Functions {
                begin: *library.get(b"cuda_graph_begin\0")?,
                end: *library.get(b"cuda_graph_end\0")?,
                launch: *library.get(b"cuda_graph_launch\0")?,
                synchronize: *library.get(b"cuda_graph_synchronize\0")?,
                free: *library.get(b"cuda_graph_free\0")?,
                _library: library,
            };
            (functions, own_stream)
        };
        // SAFETY: it takes nothing, and gives a message or null.
        ffi::check(unsafe { own_stream() })?;
        Ok(Self { functions: Arc::new(functions) })
    }

    /// Records what `work` would have the GPU do. It must have been done once before, and must not wait for the GPU nor
    /// read its results. A `sibling` shares its memory: what either has written must have been read before the other is
    /// launched.
    ///
    /// # Errors
    /// If `work` fails, or does what cannot be recorded.
    pub fn record<T, E: From<OpError>>(
        &self,
        sibling: Option<&CudaGraph>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<(CudaGraph, T), E> {
        let sibling = sibling.map_or(null_mut(), |graph| graph.raw.as_ptr());
        let mut raw = null_mut();
        // SAFETY: the sibling is null or alive; the new graph is written if there is no message.
        ffi::check(unsafe { (self.functions.begin)(sibling, &raw mut raw) })?;
        let raw = NonNull::new(raw).ok_or_else(|| OpError("no graph was made".to_owned()))?;
        let graph = CudaGraph { raw, functions: self.functions.clone() };
        let done = work();
        // Even if the work failed: else all that this thread does would be recorded.
        // SAFETY: the graph is alive, and has begun.
        let ended = ffi::check(unsafe { (self.functions.end)(graph.raw.as_ptr()) });
        let done = done?;
        ended?;
        Ok((graph, done))
    }

    /// Waits until all is done that this thread has queued.
    ///
    /// # Errors
    /// If some of it failed.
    pub fn synchronize(&self) -> Result<(), OpError> {
        // SAFETY: it takes nothing, and gives a message or null.
        ffi::check(unsafe { (self.functions.synchronize)() })
    }
}

// SAFETY: a graph is launched from any thread, by one at a time, and it is not `Sync`.
unsafe impl Send for CudaGraph {}

impl CudaGraph {
    /// Queues the recorded work, on the calling thread's stream.
    ///
    /// # Errors
    /// If CUDA refuses.
    pub fn launch(&self) -> Result<(), OpError> {
        // SAFETY: the graph is alive.
        ffi::check(unsafe { (self.functions.launch)(self.raw.as_ptr()) })
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        // SAFETY: nobody else frees it.
        unsafe { (self.functions.free)(self.raw.as_ptr()) }
    }
}

/// Loads the library from memory.
fn open() -> Result<Library, OpError> {
    if LIBRARY.is_empty() {
        return Err(OpError("this program was built without CUDA's headers".to_owned()));
    }
    let file = file_in_memory().map_err(|error| OpError(format!("no file in memory: {error}")))?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the library has no initialisers of its own.
    Ok(unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }?)
}

fn file_in_memory() -> std::io::Result<std::fs::File> {
    let mut file = std::fs::File::from(memfd_create("cuda_graph.so", MemfdFlags::CLOEXEC)?);
    file.write_all(LIBRARY)?;
    Ok(file)
}

impl From<libloading::Error> for OpError {
    /// The loader's own words are in the source.
    fn from(error: libloading::Error) -> Self {
        let reason = error.source().map_or_else(String::new, |source| format!(": {source}"));
        Self(format!("{error}{reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_cuda_it_says_what_is_missing() {
        let Err(OpError(error)) = Recorder::new() else {
            panic!("there is CUDA, in a test that never loads it")
        };
        assert!(error.contains("undefined symbol") || error.contains("CUDA's headers"), "{error}");
    }
}
