//! The codec of the generated server and client: checks messages from Envoy against [`limits`](crate::limits) before it
//! decodes them.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use crate::limits::{self, LimitError};

/// Encodes messages of one type, and checks and decodes those of another.
pub(crate) struct CheckedCodec<T, U>(PhantomData<(T, U)>);

/// Checks and decodes messages.
pub(crate) struct CheckedDecoder<U>(PhantomData<U>);

/// A message that is checked before it is decoded.
pub(crate) trait Checked: Message + Default {
    /// Whether the encoded message may be decoded.
    fn check(message: &[u8]) -> Result<(), LimitError>;
}

impl Checked for ProcessingRequest {
    fn check(message: &[u8]) -> Result<(), LimitError> {
        limits::check(message)
    }
}

impl Checked for ProcessingResponse {
    /// Responses come from the sidecar, which the client trusts.
    fn check(_: &[u8]) -> Result<(), LimitError> {
        Ok(())
    }
}

impl<T, U> Default for CheckedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for CheckedCodec<T, U>
where
    T: Message + 'static,
    U: Checked + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CheckedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        CheckedDecoder(PhantomData)
    }
}

impl<U: Checked> Decoder for CheckedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Shares the receive buffer.
        let message = buffer.copy_to_bytes(buffer.remaining());
        U::check(&message).map_err(status)?;
        // The code that gRPC prescribes.
        U::decode(message).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// The status of a message over a limit is that of a message that is too long.
fn status(error: LimitError) -> Status {
    match error {
        LimitError::Malformed => Status::internal(error.to_string()),
        _ => Status::out_of_range(error.to_string()),
    }
}
