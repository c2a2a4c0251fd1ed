//! The harness itself: a test that relies on it must be able to.

mod mock_llm;
mod request_log;
