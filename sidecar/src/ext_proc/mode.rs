//! How Envoy's filter sends bodies, according to its configuration. Pure.

use clap::ValueEnum;
use llm_router_proto::envoy::service::ext_proc::v3::{ProtocolConfiguration, processing_mode::BodySendMode};
use tonic::Status;

/// How a proxy sends bodies if it does not announce that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AssumedBodyMode {
    /// In one message, after the response to the headers.
    #[default]
    Buffered,
    /// In chunks, without waiting for responses.
    FullDuplexStreamed,
}

/// How a request's body arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestMode {
    /// `BUFFERED`: in one message, after the response to the headers.
    Buffered,
    /// Probably as [`Buffered`](Self::Buffered), but the message may be only a part of the body: the mode is
    /// unknown, or `BUFFERED_PARTIAL`.
    Unannounced,
    /// `NONE`: as the response to the headers requests.
    OnDemand,
    /// `STREAMED` if Envoy waits for the response to the headers: as that response requests, or in chunks with one response
    /// each.
    StreamedLate,
    /// `STREAMED` if Envoy does not wait: in chunks with one response each.
    Streamed,
    /// `FULL_DUPLEX_STREAMED`: in chunks, with any number of responses at any time.
    Duplex,
}

/// How both bodies of an exchange arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BodyModes {
    pub(super) request: RequestMode,
    /// As configured, for responses that override only the mode of the request.
    pub(super) response: BodySendMode,
}

impl BodyModes {
    /// Reads the modes from the first message of a stream.
    ///
    /// # Errors
    /// If the mode is the one for gRPC messages, which no LLM API uses.
    pub(super) fn new(
        config: Option<&ProtocolConfiguration>,
        assumed: AssumedBodyMode,
    ) -> Result<Self, Status> {
        let Some(config) = config else {
            return Ok(match assumed {
                AssumedBodyMode::Buffered => {
                    Self { request: RequestMode::Unannounced, response: BodySendMode::None }
                }
                AssumedBodyMode::FullDuplexStreamed => {
                    Self { request: RequestMode::Duplex, response: BodySendMode::FullDuplexStreamed }
                }
            });
        };
        let request = match config.request_body_mode() {
            BodySendMode::Buffered => RequestMode::Buffered,
            // What Envoy sends may not be the whole body.
            BodySendMode::BufferedPartial => RequestMode::Unannounced,
            BodySendMode::Streamed if config.send_body_without_waiting_for_header_response => {
                RequestMode::Streamed
            }
            BodySendMode::Streamed => RequestMode::StreamedLate,
            BodySendMode::None => RequestMode::OnDemand,
            BodySendMode::FullDuplexStreamed => RequestMode::Duplex,
            BodySendMode::Grpc => return Err(Status::unimplemented("the body mode GRPC is not supported")),
        };
        Ok(Self { request, response: config.response_body_mode() })
    }

    /// The modes of our filter, which sends only the body.
    pub(super) fn one_message() -> Self {
        Self { request: RequestMode::Buffered, response: BodySendMode::None }
    }

    /// Whether Envoy applies a mode in the response to request headers, if its configuration allows that.
    pub(super) fn can_be_overridden(self) -> bool {
        self.request_can_be_overridden() && !self.is_response_duplex()
    }

    /// Whether Envoy ignores such a mode only because of the mode of response bodies.
    pub(super) fn is_blocked_by_response(self) -> bool {
        self.request_can_be_overridden() && self.is_response_duplex()
    }

    fn request_can_be_overridden(self) -> bool {
        !matches!(self.request, RequestMode::Streamed | RequestMode::Duplex)
    }

    /// Whether response chunks must be sent back.
    pub(super) fn is_response_duplex(self) -> bool {
        self.response == BodySendMode::FullDuplexStreamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(request: BodySendMode, early: bool) -> ProtocolConfiguration {
        ProtocolConfiguration {
            request_body_mode: request.into(),
            response_body_mode: BodySendMode::Streamed.into(),
            send_body_without_waiting_for_header_response: early,
        }
    }

    fn modes(config: Option<ProtocolConfiguration>, assumed: AssumedBodyMode) -> BodyModes {
        BodyModes::new(config.as_ref(), assumed).unwrap()
    }

    #[test]
    fn the_configuration_determines_how_bodies_arrive() {
        use RequestMode::{Buffered, Duplex, OnDemand, Streamed, StreamedLate};
        for (mode, early, expected) in [
            (BodySendMode::Buffered, false, Buffered),
            (BodySendMode::None, false, OnDemand),
            (BodySendMode::Streamed, false, StreamedLate),
            (BodySendMode::Streamed, true, Streamed),
            (BodySendMode::FullDuplexStreamed, false, Duplex),
        ] {
            let modes = modes(Some(config(mode, early)), AssumedBodyMode::FullDuplexStreamed);
            assert_eq!(modes, BodyModes { request: expected, response: BodySendMode::Streamed });
            assert_eq!(modes.can_be_overridden(), !matches!(expected, Streamed | Duplex), "{mode:?}");
        }
    }

    #[test]
    fn responses_that_are_streamed_back_keep_requests_from_being_overridden() {
        for (mode, early, is_blocked) in [
            (BodySendMode::Buffered, false, true),
            (BodySendMode::None, false, true),
            (BodySendMode::Streamed, false, true),
            (BodySendMode::Streamed, true, false),
            (BodySendMode::FullDuplexStreamed, false, false),
        ] {
            let response_body_mode = BodySendMode::FullDuplexStreamed.into();
            let config = ProtocolConfiguration { response_body_mode, ..config(mode, early) };
            let modes = modes(Some(config), AssumedBodyMode::Buffered);
            assert!(!modes.can_be_overridden());
            assert_eq!(modes.is_blocked_by_response(), is_blocked, "{mode:?}");
        }
        let streamed = config(BodySendMode::None, false);
        assert!(!modes(Some(streamed), AssumedBodyMode::Buffered).is_blocked_by_response());
    }

    #[test]
    fn without_a_configuration_the_assumed_mode_applies() {
        assert_eq!(modes(None, AssumedBodyMode::Buffered).request, RequestMode::Unannounced);
        let duplex = modes(None, AssumedBodyMode::FullDuplexStreamed);
        assert!(duplex.request == RequestMode::Duplex && duplex.is_response_duplex());
    }

    #[test]
    fn grpc_messages_are_rejected() {
        let config = config(BodySendMode::Grpc, false);
        let status = BodyModes::new(Some(&config), AssumedBodyMode::Buffered).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }
}
