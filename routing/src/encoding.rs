//! Compressed request bodies: inflated within bounds, or refused.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::refusal::Refusal;

/// How a request's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// By gzip.
    Gzip,
}

impl Encoding {
    /// The encoding that a `content-encoding` header names; none is [`Encoding::Identity`].
    ///
    /// # Errors
    /// A 415 for an encoding that is not read here.
    pub fn from_header(value: Option<&str>) -> Result<Self, Refusal> {
        match value.map(str::trim) {
            None | Some("") => Ok(Self::Identity),
            Some(name) if name.eq_ignore_ascii_case("identity") => Ok(Self::Identity),
            Some(name) if name.eq_ignore_ascii_case("gzip") => Ok(Self::Gzip),
            Some(name) => Err(Refusal::unsupported_encoding(name)),
        }
    }
}

/// What a gzip body holds.
///
/// # Errors
/// A 413 as soon as it grows over `max_body` bytes, however small it was sent; a 400 if it is not gzip.
pub fn inflate(body: &[u8], max_body: usize) -> Result<Vec<u8>, Refusal> {
    let mut inflated = Vec::new();
    let bound = u64::try_from(max_body).unwrap_or(u64::MAX).saturating_add(1);
    GzDecoder::new(body).take(bound).read_to_end(&mut inflated).map_err(|error| {
        Refusal::invalid(None, format!("the body is not gzip, as content-encoding says: {error}"))
    })?;
    if inflated.len() > max_body { Err(Refusal::body_too_large(max_body)) } else { Ok(inflated) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_inflated() {
        assert_eq!(inflate(&gzip(b"a prompt"), 8).unwrap(), b"a prompt");
    }

    #[test]
    fn a_bomb_is_a_413_before_it_goes_off() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(inflate(&bomb, 1 << 20).unwrap_err().status(), 413);
    }

    #[test]
    fn what_is_not_gzip_is_a_400() {
        assert_eq!(inflate(b"{}", 100).unwrap_err().status(), 400);
        let whole = gzip(b"a prompt");
        assert_eq!(inflate(&whole[..whole.len() - 9], 100).unwrap_err().status(), 400);
    }

    #[test]
    fn encodings_are_told_by_their_header() {
        assert_eq!(Encoding::from_header(None), Ok(Encoding::Identity));
        assert_eq!(Encoding::from_header(Some("identity")), Ok(Encoding::Identity));
        assert_eq!(Encoding::from_header(Some(" GZIP")), Ok(Encoding::Gzip));
        for other in ["br", "zstd", "gzip, gzip"] {
            assert_eq!(Encoding::from_header(Some(other)).unwrap_err().status(), 415);
        }
    }
}
