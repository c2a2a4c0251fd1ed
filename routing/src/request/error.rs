//! What can be wrong with a body, before it is known in which field.

use crate::json::{MAX_ITEMS, SyntaxError};
use crate::rejection::Rejection;

/// A body that cannot be read.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It is not JSON.
    Syntax(SyntaxError),
    /// A field is not of the type that it should be; the text follows the field's name.
    Type(&'static str),
    /// A field has its own words for it.
    Refused(Rejection),
}

impl From<SyntaxError> for BodyError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

impl From<Rejection> for BodyError {
    fn from(refusal: Rejection) -> Self {
        Self::Refused(refusal)
    }
}

impl BodyError {
    /// The answer to the client, which names the field.
    pub(super) fn refusal(self, field: Option<&'static str>) -> Rejection {
        match (self, field) {
            (Self::Refused(refusal), _) => refusal,
            (Self::Type(problem), Some(field)) => {
                Rejection::invalid(Some(field), format!("{field} {problem}"))
            }
            (Self::Type(problem), None) => Rejection::invalid(None, format!("the body {problem}")),
            (Self::Syntax(error), _) if error.is_too_long => Rejection::body_too_long(MAX_ITEMS),
            (Self::Syntax(error), _) => {
                Rejection::invalid(None, format!("the body is not a JSON object: {error}"))
            }
        }
    }
}
