//! CUDA graphs: work that is captured once and then launched as a whole. The GPU starts each of its kernels without
//! waiting for the CPU to launch it, which takes longer than the kernel if the batch is small.

use std::any::Any;
use std::error::Error;
use std::ffi::c_char;
use std::io::Write;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::{OpError, ffi};

/// `cuda/graph.cpp`, compiled; empty if CUDA's headers were missing.
static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cuda_graph.so"));

/// C++'s graph.
#[repr(C)]
struct RawGraph {
    _private: [u8; 0],
}

type Message = *mut c_char;

/// Captures the work of one thread, and cannot leave it.
#[derive(Debug)]
pub struct Recorder {
    functions: Functions,
    /// It captures a stream of its thread.
    _not_send: PhantomData<*const ()>,
}

/// The functions of the library, which stays loaded until the process ends.
#[derive(Debug, Clone, Copy)]
struct Functions {
    own_stream: unsafe extern "C" fn() -> Message,
    begin: unsafe extern "C" fn(*mut RawGraph, *mut *mut RawGraph) -> Message,
    end: unsafe extern "C" fn(*mut RawGraph) -> Message,
    launch: unsafe extern "C" fn(*mut RawGraph) -> Message,
    synchronize: unsafe extern "C" fn() -> Message,
    free: unsafe extern "C" fn(*mut RawGraph),
}

/// Captured work. Each launch reads and writes the same memory, so it keeps what the work owns.
pub struct CudaGraph {
    raw: NonNull<RawGraph>,
    functions: Functions,
    _work: Option<Box<dyn Any>>,
}

impl Recorder {
    /// Prepares the calling thread, which uses its own stream from now on. libtorch's CUDA part must be
    /// loaded with its symbols visible to other libraries.
    ///
    /// # Errors
    /// If this program was built without CUDA's headers, or libtorch's CUDA part is missing or another version.
    pub fn new() -> Result<Self, OpError> {
        static FUNCTIONS: OnceLock<Result<Functions, OpError>> = OnceLock::new();
        Self::with_functions(FUNCTIONS.get_or_init(load).clone()?)
    }

    fn with_functions(functions: Functions) -> Result<Self, OpError> {
        // SAFETY: it takes nothing, and returns a message or null.
        ffi::check(unsafe { (functions.own_stream)() })?;
        Ok(Self { functions, _not_send: PhantomData })
    }

    /// Captures what `work` would have the GPU do. The same work must have been done once before, and must neither wait
    /// for the GPU nor read its results. A `sibling` shares its memory: what either graph has written must have been read
    /// before the other one is launched.
    ///
    /// # Errors
    /// If `work` fails, or does something that cannot be captured.
    pub fn record<T, E: From<OpError>>(
        &self,
        sibling: Option<&CudaGraph>,
        work: impl Fn() -> Result<T, E> + 'static,
    ) -> Result<(CudaGraph, T), E> {
        let sibling = sibling.map_or(null_mut(), |graph| graph.raw.as_ptr());
        let mut raw = null_mut();
        // SAFETY: the sibling is null or alive; the new graph is written if there is no message.
        ffi::check(unsafe { (self.functions.begin)(sibling, &raw mut raw) })?;
        let raw = NonNull::new(raw).ok_or_else(|| OpError("CUDA returned no graph".to_owned()))?;
        let mut graph = CudaGraph { raw, functions: self.functions, _work: None };
        let capture = Capture { graph: &graph, open: true };
        let done = work();
        let ended = capture.end();
        let done = done?;
        ended?;
        graph._work = Some(Box::new(work));
        Ok((graph, done))
    }

    /// Waits until everything that this thread has queued is done.
    ///
    /// # Errors
    /// If some of it failed.
    pub fn synchronize(&self) -> Result<(), OpError> {
        // SAFETY: it takes nothing, and returns a message or null.
        ffi::check(unsafe { (self.functions.synchronize)() })
    }
}

/// A capture that has begun. It ends even if the work fails or panics: otherwise everything that the thread does
/// afterwards would be captured instead of done.
struct Capture<'a> {
    graph: &'a CudaGraph,
    open: bool,
}

impl Capture<'_> {
    fn end(mut self) -> Result<(), OpError> {
        self.close()
    }

    fn close(&mut self) -> Result<(), OpError> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        // SAFETY: the graph is alive, and its capture has begun and not ended.
        ffi::check(unsafe { (self.graph.functions.end)(self.graph.raw.as_ptr()) })
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        // The work failed already.
        let _ = self.close();
    }
}

impl CudaGraph {
    /// Queues the captured work, on the calling thread's stream.
    ///
    /// # Errors
    /// If CUDA fails.
    pub fn launch(&self) -> Result<(), OpError> {
        // SAFETY: the graph is alive, and so is the memory that it uses.
        ffi::check(unsafe { (self.functions.launch)(self.raw.as_ptr()) })
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        // SAFETY: nothing else frees it.
        unsafe { (self.functions.free)(self.raw.as_ptr()) }
    }
}

/// Loads the library.
fn load() -> Result<Functions, OpError> {
    let library = open()?;
    // SAFETY: the types are those in graph.cpp, and the library is never unloaded.
    unsafe {
        let functions = Functions {
            own_stream: *library.get(b"cuda_graph_own_stream\0")?,
            begin: *library.get(b"cuda_graph_begin\0")?,
            end: *library.get(b"cuda_graph_end\0")?,
            launch: *library.get(b"cuda_graph_launch\0")?,
            synchronize: *library.get(b"cuda_graph_synchronize\0")?,
            free: *library.get(b"cuda_graph_free\0")?,
        };
        std::mem::forget(library);
        Ok(functions)
    }
}

/// Opens the library from memory.
fn open() -> Result<Library, OpError> {
    if LIBRARY.is_empty() {
        return Err(OpError("this program was built without CUDA's headers".to_owned()));
    }
    let file =
        file_in_memory().map_err(|error| OpError(format!("cannot create a file in memory: {error}")))?;
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
    /// The loader's own message is in the source.
    fn from(error: libloading::Error) -> Self {
        let reason = error.source().map_or_else(String::new, |source| format!(": {source}"));
        Self(format!("{error}{reason}"))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    use super::*;

    #[test]
    fn without_cuda_it_says_what_is_missing() {
        let Err(OpError(error)) = Recorder::new() else {
            panic!("there is CUDA, in a test that never loads it")
        };
        assert!(error.contains("undefined symbol") || error.contains("CUDA's headers"), "{error}");
    }

    thread_local! {
        static CALLS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    fn called(function: &'static str) -> Message {
        CALLS.with_borrow_mut(|calls| calls.push(function));
        null_mut()
    }

    /// A recorder whose functions only log their calls, by thread.
    fn recorder() -> Recorder {
        extern "C" fn own_stream() -> Message {
            called("own_stream")
        }
        extern "C" fn begin(_: *mut RawGraph, graph: *mut *mut RawGraph) -> Message {
            // SAFETY: the caller passes a valid pointer for the graph.
            unsafe { graph.write(NonNull::dangling().as_ptr()) };
            called("begin")
        }
        extern "C" fn end(_: *mut RawGraph) -> Message {
            called("end")
        }
        extern "C" fn launch(_: *mut RawGraph) -> Message {
            called("launch")
        }
        extern "C" fn synchronize() -> Message {
            called("synchronize")
        }
        extern "C" fn free(_: *mut RawGraph) {
            called("free");
        }
        let functions = Functions { own_stream, begin, end, launch, synchronize, free };
        Recorder::with_functions(functions).unwrap()
    }

    fn calls() -> Vec<&'static str> {
        CALLS.with_borrow_mut(std::mem::take)
    }

    #[test]
    fn a_graph_is_captured_launched_and_freed() {
        let recorder = recorder();
        let (graph, done) = recorder.record(None, || Ok::<_, OpError>(7)).unwrap();
        graph.launch().unwrap();
        recorder.synchronize().unwrap();
        drop(graph);
        assert_eq!(done, 7);
        assert_eq!(calls(), ["own_stream", "begin", "end", "launch", "synchronize", "free"]);
    }

    #[test]
    fn a_capture_ends_once_though_the_work_fails_or_panics() {
        let recorder = recorder();
        let failed = recorder.record(None, || Err::<(), _>(OpError("no memory".to_owned())));
        assert!(failed.is_err_and(|OpError(error)| error == "no memory"));
        assert_eq!(calls(), ["own_stream", "begin", "end", "free"]);
        let panics = || recorder.record::<(), OpError>(None, || panic!("as broken work would"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert_eq!(calls(), ["begin", "end", "free"]);
    }

    #[test]
    fn a_graph_keeps_what_its_work_owns() {
        struct Memory(Rc<Cell<bool>>);
        impl Drop for Memory {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let freed = Rc::new(Cell::new(false));
        let memory = Memory(Rc::clone(&freed));
        let work = move || Ok::<_, OpError>(memory.0.get());
        let (graph, _) = recorder().record(None, work).unwrap();
        assert!(!freed.get());
        drop(graph);
        assert!(freed.get());
    }
}
