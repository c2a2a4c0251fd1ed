//! Errors in a body, before the field is known.

use crate::json::{MAX_ITEMS, SyntaxError};
use crate::rejection::Rejection;

/// A body that cannot be read.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It is not JSON.
    Syntax(SyntaxError),
    /// A field has the wrong type. The text follows the field's name.
    Type(&'static str),
    /// A field has its own message.
    Rejected(Rejection),
}

impl From<SyntaxError> for BodyError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

impl From<Rejection> for BodyError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl BodyError {
    /// The rejection, which names the field.
    pub(super) fn rejection(self, field: Option<&'static str>) -> Rejection {
        match (self, field) {
            (Self::Rejected(rejection), _) => rejection,
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
