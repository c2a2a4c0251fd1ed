//! Paid requests to models: within a budget, with retries, and each result recorded at once.

mod budget;
mod chat;
mod failure;
mod http;
mod journal;
mod model;
mod pace;
mod provider;
mod requester;
mod retry;

pub(crate) use budget::{Budget, Limits};
pub(crate) use chat::Completion;
pub(crate) use http::HttpClient;
pub(crate) use journal::{Journal, Outcome, Spent, TestResult};
pub(crate) use model::ChatModel;
pub(crate) use pace::Pace;
pub(crate) use provider::{ApiKey, Provider, completions_url};
pub(crate) use requester::{CallError, Paid, Requester};
pub(crate) use retry::Backoff;
