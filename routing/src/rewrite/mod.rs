//! Puts the chosen model into a body by splicing its bytes: all other bytes, their order and their format stay.

mod splice;

pub(crate) use splice::Member;
use splice::Splices;

/// The places of a body to change, found when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The members that name the model, in order.
    models: Vec<Member>,
    /// The members with routing metadata.
    metadata: Vec<Member>,
}

/// How many bytes longer than the body [`Rewrite::apply`] can make it for this model, whatever the body is.
pub fn growth(model: &str) -> usize {
    model_member(model).len() + ",".len()
}

fn model_member(model: &str) -> Vec<u8> {
    [b"\"model\":", quoted(model).as_bytes()].concat()
}

fn quoted(text: &str) -> String {
    // A string always serializes.
    serde_json::to_string(text).unwrap_or_default()
}

impl Rewrite {
    /// `models`: the members that name the model, in order; the last stays, and gets the chosen one's name. The others
    /// are removed: they would only leave it to the LLM's parser which counts. `metadata`: further members to remove.
    pub(crate) fn new(models: Vec<Member>, metadata: Vec<Member>) -> Self {
        Self { models, metadata }
    }

    /// The body with `model` as the LLM's API wants it, and without routing metadata. `body` must be the one that was
    /// parsed.
    pub fn apply(&self, body: &[u8], model: &str) -> Vec<u8> {
        let mut splices = Splices::new(body);
        let (named, others) = match self.models.split_last() {
            Some((last, others)) => (Some(last), others),
            None => (None, self.models.as_slice()),
        };
        let mut added = Vec::new();
        match named {
            Some(member) => splices.replace(member.value.clone(), quoted(model).into_bytes()),
            None => added.push(model_member(model)),
        }
        let removed = self.metadata.iter().chain(others).collect();
        change_members(&mut splices, body, removed, &added);
        splices.apply()
    }

    /// The body without routing metadata, if it has some. `body` must be the one that was parsed.
    pub fn without_metadata(&self, body: &[u8]) -> Option<Vec<u8>> {
        if self.metadata.is_empty() {
            return None;
        }
        let mut splices = Splices::new(body);
        change_members(&mut splices, body, self.metadata.iter().collect(), &[]);
        Some(splices.apply())
    }
}

/// Changes the members of the body itself, which is an object since it was parsed.
fn change_members(splices: &mut Splices<'_>, body: &[u8], removed: Vec<&Member>, added: &[Vec<u8>]) {
    if let Some(brace) = body.iter().position(|byte| *byte == b'{') {
        splices.change_members(brace, removed, added);
    }
}
