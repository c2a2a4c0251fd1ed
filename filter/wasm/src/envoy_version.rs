//! Checks that Envoy supports the features that the filters need. Otherwise requests would hang, or retries would go to the
//! same model.

use std::fmt;

use crate::host;

/// A feature of Envoy that a filter needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Holding a request's headers until its body has been read.
    HeldHeaders,
    /// Choosing another cluster for a retry.
    FreshCluster,
}

impl Need {
    /// The oldest minor version of Envoy 1 that has it.
    fn since(self) -> u64 {
        match self {
            Self::HeldHeaders => 35,
            Self::FreshCluster => 39,
        }
    }
}

/// An Envoy that is too old, by its minor version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooOld {
    minor: u64,
    need: Need,
}

impl fmt::Display for TooOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minor, since) = (self.minor, self.need.since());
        match self.need {
            Need::HeldHeaders => write!(
                f,
                "Envoy 1.{minor} cannot hold request headers for a Wasm filter; use Envoy 1.{since} or later, or its \
                 ext_proc filter with the same sidecar"
            ),
            Need::FreshCluster => write!(
                f,
                "Envoy 1.{minor} cannot choose another cluster for a retry; use Envoy 1.{since} or later, or no failover"
            ),
        }
    }
}

/// Whether this Envoy supports it. An Envoy that does not report its version passes.
pub(crate) fn check(need: Need) -> Result<(), TooOld> {
    let version = |part| host::number_property(&["xds", "node", "user_agent_build_version", "version", part]);
    check_version(need, version("major_number"), version("minor_number"))
}

fn check_version(need: Need, major: Option<u64>, minor: Option<u64>) -> Result<(), TooOld> {
    match (major, minor) {
        (Some(1), Some(minor)) if minor < need.since() => Err(TooOld { minor, need }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_1(need: Need, minor: u64) -> Result<(), TooOld> {
        check_version(need, Some(1), Some(minor))
    }

    #[test]
    fn an_envoy_that_would_hang_requests_is_too_old() {
        let need = Need::HeldHeaders;
        assert_eq!(check_1(need, 34), Err(TooOld { minor: 34, need }));
        assert_eq!(check_1(need, 0), Err(TooOld { minor: 0, need }));
        assert_eq!([check_1(need, 35), check_1(need, 40)], [Ok(()), Ok(())]);
    }

    #[test]
    fn failover_needs_a_newer_one() {
        let need = Need::FreshCluster;
        assert_eq!(check_1(need, 38), Err(TooOld { minor: 38, need }));
        assert_eq!(check_1(need, 39), Ok(()));
    }

    #[test]
    fn the_next_major_version_and_an_unknown_one_are_accepted() {
        for version in [(Some(2), Some(0)), (None, Some(34)), (Some(1), None), (None, None)] {
            assert_eq!(check_version(Need::HeldHeaders, version.0, version.1), Ok(()));
        }
    }

    #[test]
    fn the_message_names_the_version_and_the_fix() {
        let said = |need, minor| check_1(need, minor).unwrap_err().to_string();
        let hang = said(Need::HeldHeaders, 34);
        assert!(hang.contains("1.34") && hang.contains("1.35") && hang.contains("ext_proc"), "{hang}");
        let retry = said(Need::FreshCluster, 38);
        assert!(retry.contains("1.38") && retry.contains("1.39"), "{retry}");
    }
}
