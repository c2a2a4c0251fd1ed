//! The hosts of the routing core, and how a test is run on each of them.
//!
//! A new host is one variant of [`Host`], one function that says how it is set up, and its name in the lists of
//! [`for_each_host!`](crate::for_each_host) and the macros after it.

use std::time::Duration;

use tokio::sync::OnceCell;

use crate::bootstrap::Bootstrap;
use crate::mock_llms::MOCK_LLMS;

/// The limit for one test on one host.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(300);

/// What applies the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// Our filter, in Envoy's Wasm runtime. The sidecar only classifies.
    Wasm,
    /// Our filter, which Envoy loads as a dynamic module. The sidecar only classifies.
    Module,
    /// The sidecar, which Envoy's own ext_proc filter calls for each request.
    ExtProc,
    /// Like `ExtProc`, with bodies that are streamed through the sidecar.
    ExtProcStreamed,
}

/// How a host is set up: from the files in `envoy/`, in front of the mock LLMs.
struct Setup {
    routing: fn() -> Bootstrap,
    shadow: fn() -> Bootstrap,
    /// If the host can replace a model that fails.
    failover: Option<fn() -> Bootstrap>,
}

fn wasm() -> Setup {
    Setup {
        routing: || MOCK_LLMS.behind(Bootstrap::wasm()),
        shadow: || Bootstrap::shadow().cluster("llm", MOCK_LLMS.address("llama-8b")),
        failover: Some(|| MOCK_LLMS.behind(Bootstrap::failover())),
    }
}

fn module() -> Setup {
    Setup {
        routing: || MOCK_LLMS.behind(Bootstrap::module()),
        shadow: || Bootstrap::module_shadow().cluster("llm", MOCK_LLMS.address("llama-8b")),
        failover: Some(|| MOCK_LLMS.behind(Bootstrap::module_failover())),
    }
}

fn ext_proc() -> Setup {
    Setup {
        routing: || MOCK_LLMS.behind(Bootstrap::native()),
        shadow: || MOCK_LLMS.behind(Bootstrap::native_shadow()),
        failover: None,
    }
}

fn ext_proc_streamed() -> Setup {
    Setup {
        routing: || MOCK_LLMS.behind(Bootstrap::native_streamed()),
        shadow: || MOCK_LLMS.behind(Bootstrap::native_streamed_shadow()),
        failover: None,
    }
}

impl Host {
    const COUNT: usize = 4;

    fn setup(self) -> Setup {
        match self {
            Self::Wasm => wasm(),
            Self::Module => module(),
            Self::ExtProc => ext_proc(),
            Self::ExtProcStreamed => ext_proc_streamed(),
        }
    }

    /// The host routes.
    #[must_use]
    pub fn bootstrap(self) -> Bootstrap {
        (self.setup().routing)()
    }

    /// The host only reports what it would decide. All requests go to `llama-8b`.
    #[must_use]
    pub fn shadow_bootstrap(self) -> Bootstrap {
        (self.setup().shadow)()
    }

    /// Clients with keys and limits.
    ///
    /// # Panics
    /// If the host is not inside Envoy.
    #[must_use]
    pub fn limits_bootstrap(self) -> Bootstrap {
        Bootstrap::inside_envoy(self, "limits")
    }

    /// Providers with TLS and keys.
    ///
    /// # Panics
    /// If the host is not inside Envoy.
    #[must_use]
    pub fn providers_bootstrap(self) -> Bootstrap {
        Bootstrap::inside_envoy(self, "providers")
    }

    /// Three sidecars.
    ///
    /// # Panics
    /// If the host is not inside Envoy.
    #[must_use]
    pub fn replicas_bootstrap(self) -> Bootstrap {
        Bootstrap::inside_envoy(self, "replicas")
    }

    /// The folder in `envoy/` of the files that change while Envoy runs.
    ///
    /// # Panics
    /// If the host is not inside Envoy.
    #[must_use]
    pub fn dynamic_folder(self) -> &'static str {
        match self {
            Self::Wasm => "dynamic",
            Self::Module => "module-dynamic",
            Self::ExtProc | Self::ExtProcStreamed => panic!("the sidecar is not inside Envoy"),
        }
    }

    /// The host replaces a model that fails.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn failover_bootstrap(self) -> Bootstrap {
        self.setup().failover.expect("a host that can replace a model that fails")()
    }
}

/// Something that the tests of each host share.
#[derive(Debug)]
pub struct PerHost<T>([OnceCell<T>; Host::COUNT]);

impl<T> PerHost<T> {
    /// Nothing is started yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is for statics")]
    pub const fn new() -> Self {
        Self([const { OnceCell::const_new() }; Host::COUNT])
    }

    /// The host's, which the first test starts.
    pub async fn get_or_start<F: Future<Output = T>>(&self, host: Host, start: impl FnOnce() -> F) -> &T {
        self.0[host as usize].get_or_init(start).await
    }
}

/// Makes a test on each host of an `async fn name(host: Host)`: `name::wasm` and so on.
#[macro_export]
macro_rules! for_each_host {
    ($($test:tt)+) => {
        $crate::host_tests! {
            [wasm(Wasm) module(Module) ext_proc(ExtProc) ext_proc_streamed(ExtProcStreamed)] $($test)+
        }
    };
}

/// Like [`for_each_host!`], for hosts with which Envoy can continue without the sidecar.
#[macro_export]
macro_rules! for_each_host_that_keeps_bodies {
    ($($test:tt)+) => {
        $crate::host_tests! {
            [
                wasm(Wasm) module(Module) ext_proc(ExtProc);
                ext_proc_streamed = "ext_proc_streamed: Envoy keeps no copy of a body that it has streamed to the sidecar"
            ]
            $($test)+
        }
    };
}

/// Like [`for_each_host!`], for hosts inside Envoy. They call the sidecar themselves, and decide when it fails.
#[macro_export]
macro_rules! for_each_host_inside_envoy {
    ($($test:tt)+) => {
        $crate::host_tests! {
            [wasm(Wasm) module(Module); ext_proc = "ext_proc: it is not inside Envoy, see ext_proc_only"] $($test)+
        }
    };
}

/// Like [`for_each_host!`], for hosts that Envoy calls at each attempt, so that they can replace a model that fails.
#[macro_export]
macro_rules! for_each_host_with_failover {
    ($($test:tt)+) => {
        $crate::host_tests! {
            [wasm(Wasm) module(Module); ext_proc = "ext_proc: Envoy does not call the sidecar again for a retry"] $($test)+
        }
    };
}

/// The tests of the macros above. A host that cannot do it has an ignored test, which says why.
#[doc(hidden)]
#[macro_export]
macro_rules! host_tests {
    (
        [$($runs:ident($variant:ident))+ $(; $cannot:ident = $why:literal)*]
        $(#[$attribute:meta])* async fn $name:ident($host:ident: $type:ty) $body:block
    ) => {
        $(#[$attribute])*
        async fn $name($host: $type) $body

        mod $name {
            $(
                #[tokio::test]
                async fn $runs() {
                    let test = super::$name($crate::host::Host::$variant);
                    $crate::within($crate::host::TEST_TIMEOUT, test).await;
                }
            )+
            $(
                #[test]
                #[ignore = $why]
                fn $cannot() {
                    panic!($why);
                }
            )*
        }
    };
}
