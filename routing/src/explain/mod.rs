//! Explains routing decisions and policies, as text and as data.
//!
//! A tool takes a request through [`Explainer::start`] and [`ExplainedRequest`], which needs predictions as Envoy's requests do,
//! and gets an [`Explanation`]. [`PolicyOutline`] is the data for a diagram of a policy.

mod considered;
mod explainer;
mod narrator;
mod outline;
mod phrases;
mod step;
#[cfg(test)]
mod tests;
mod words;

pub use considered::{ConsideredModel, Standing};
pub use explainer::{BodyValues, ExplainedRequest, Explainer, Explanation};
pub use outline::{
    ModelOutline, PolicyOutline, Prices, RouteOutline, RuleOutline, StrategyOutline, WeightedModel,
};
pub use phrases::{conditions, outcome_cell, target_cell};
pub use step::{Detail, ExplainedStep};
