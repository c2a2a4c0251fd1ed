//! Tests of the harness itself, because other tests rely on it.

mod mock_llm;
mod request_log;
