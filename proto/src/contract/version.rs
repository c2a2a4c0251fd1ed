//! The contract's version, and which versions work together.

use std::fmt;
use std::str::FromStr;

use crate::Value;
use crate::structs::as_string;

/// The version of the contract that this crate implements.
///
/// A new field that the other side may ignore raises the minor version. Any other change raises the major version.
pub const CONTRACT_VERSION: Version = Version { major: 1, minor: 3 };

/// A version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Different major versions are incompatible.
    pub major: u32,
    /// Versions with the same major version are compatible, regardless of their minor versions.
    pub minor: u32,
}

impl Version {
    /// The version of a peer that sends none: version 1.0 had no field for it.
    pub const UNVERSIONED: Self = Self { major: 1, minor: 0 };

    /// The version that the sidecar reports in response to this one: its own, or none to a peer that sent none. Native Envoy
    /// shows the response's metadata to its users, who have no use for it.
    #[must_use]
    pub fn to_respond(self) -> Self {
        if self == Self::UNVERSIONED { Self::UNVERSIONED } else { CONTRACT_VERSION }
    }

    /// Reads the version field of a message's metadata; none if it is malformed.
    pub(super) fn from_field(value: Option<&Value>) -> Option<Self> {
        value.map_or(Some(Self::UNVERSIONED), |value| as_string(value)?.parse().ok())
    }

    /// The version field of a message's metadata. [`Self::UNVERSIONED`] had none.
    pub(super) fn to_field(self) -> Option<Value> {
        (self != Self::UNVERSIONED).then(|| self.to_string().into())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let (major, minor) = text.split_once('.').ok_or(InvalidVersion)?;
        let number = |text: &str| text.parse().map_err(|_| InvalidVersion);
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// The text is not `MAJOR.MINOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the version is not MAJOR.MINOR")]
pub struct InvalidVersion;

/// Filter and sidecar speak different major versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter speaks version {filter} of the contract and the sidecar {sidecar}: upgrade the {}", self.older())]
pub struct IncompatibleVersion {
    /// The filter's version.
    pub filter: Version,
    /// The sidecar's version.
    pub sidecar: Version,
}

impl IncompatibleVersion {
    /// Checks that the two are compatible.
    pub(super) fn check(filter: Version, sidecar: Version) -> Result<(), Self> {
        if filter.major == sidecar.major { Ok(()) } else { Err(Self { filter, sidecar }) }
    }

    fn older(&self) -> &'static str {
        if self.filter < self.sidecar { "filter" } else { "sidecar" }
    }
}
