//! Envoys of several versions, and how a test is run on each of them.

use std::path::PathBuf;

use crate::repository;

/// A line of Envoy's releases. `scripts/envoys.txt` and `scripts/requirements.txt` say which release of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// 1.37, which is too old for the dynamic module.
    V1_37,
    /// 1.38, the oldest that can run the dynamic module.
    V1_38,
    /// 1.39, the oldest that can choose another cluster for a retry.
    V1_39,
    /// The one that all other tests use: 1.40, or what the variable `ENVOY` names.
    #[default]
    Current,
}

impl Version {
    /// Its program.
    ///
    /// # Panics
    /// If it is not installed. The message is the command to run.
    #[must_use]
    pub fn executable(self) -> PathBuf {
        let older = |line: &str| repository().join(format!(".setup/envoys/{line}/envoy/_bin/envoy"));
        let (executable, part) = match self {
            Self::V1_37 => (older("1.37"), "envoys"),
            Self::V1_38 => (older("1.38"), "envoys"),
            Self::V1_39 => (older("1.39"), "envoys"),
            Self::Current => {
                let named = std::env::var_os("ENVOY").map(PathBuf::from);
                (named.unwrap_or_else(|| repository().join(".setup/venv/bin/envoy")), "tools")
            }
        };
        assert!(
            executable.exists(),
            "{} is missing: run `scripts/setup --only {part}`",
            executable.display()
        );
        executable
    }
}

/// Makes a test of an `async fn name(version: Version)` for each Envoy that can run the dynamic module: `name::v1_38` and so on.
#[macro_export]
macro_rules! for_each_envoy {
    ($($test:tt)+) => { $crate::version_tests! { [v1_38(V1_38) v1_39(V1_39) current(Current)] $($test)+ } };
}

/// Like [`for_each_envoy!`], for Envoys that can choose another cluster for a retry.
#[macro_export]
macro_rules! for_each_envoy_with_failover {
    ($($test:tt)+) => { $crate::version_tests! { [v1_39(V1_39) current(Current)] $($test)+ } };
}

/// The tests of the macros above.
#[doc(hidden)]
#[macro_export]
macro_rules! version_tests {
    (
        [$($runs:ident($variant:ident))+]
        $(#[$attribute:meta])* async fn $name:ident($version:ident: $type:ty) $body:block
    ) => {
        $(#[$attribute])*
        async fn $name($version: $type) $body

        mod $name {
            $(
                #[tokio::test]
                async fn $runs() {
                    let test = super::$name($crate::versions::Version::$variant);
                    $crate::within($crate::host::TEST_TIMEOUT, test).await;
                }
            )+
        }
    };
}
