//! Messages out as the bytes they are, answers in as prost messages.

use std::marker::PhantomData;

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstCodec;

/// A codec for answers of type `A`.
#[derive(Debug)]
pub(super) struct Plain<A>(PhantomData<A>);

impl<A> Default for Plain<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// Writes bytes.
#[derive(Debug, Default)]
pub(super) struct AsTheyAre;

impl Encoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl<A: Message + Default + 'static> Codec for Plain<A> {
    type Encode = Bytes;
    type Decode = A;
    type Encoder = AsTheyAre;
    type Decoder = <ProstCodec<A, A> as Codec>::Decoder;

    fn encoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<A, A>::raw_decoder(BufferSettings::default())
    }
}
